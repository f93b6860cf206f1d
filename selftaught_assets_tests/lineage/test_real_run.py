"""Two iterations of the small recipe, really run: what each table says of itself, and where each row leads."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from typer.testing import CliRunner

from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.cli import app
from selftaught_assets.lineage import Trace, trace
from selftaught_assets.lineage.diff import Side, diff
from selftaught_assets.lineage.nodes import walk
from selftaught_assets.method.scoring.held_out import HELD_OUT
from selftaught_assets.storage.columns import describe, origins
from selftaught_assets.storage.tables import read_provenance, table_version
from selftaught_assets_tests.assets.loop import Loop

ITERATIONS = ("iteration_01", "iteration_02")
IDS = {
    "instruction_pool": "instruction_id",
    "instructions": "instruction_id",
    "pairs": "pair_id",
    "judgments": "judgment_id",
    "filtered_set": "example_id",
}
MEASURED = ("benchmarks", "seed_evaluation", "evaluation", "progress")
SAMPLED = {"pairs": "pairs", "judgments": "judgments", "evaluation": "evaluation", "seed_evaluation": "evaluation"}
UNPARTITIONED = {"instruction_pool", "benchmarks", "seed_evaluation", "progress"}


@pytest.fixture(scope="module")
def loop(two_iterations: Loop) -> Loop:
    return two_iterations


def tables(*names: str) -> list[tuple[str, str | None]]:
    return [(name, key) for name in names for key in ((None,) if name in UNPARTITIONED else ITERATIONS)]


def ask(loop: Loop, id: str, **options: Any) -> Trace:
    return trace(loop.layout, loop.recipe, id, **options)


def of_kind(answer: Trace, kind: str) -> list[dict[str, Any]]:
    return [node for tree in answer["trees"] for node in walk(tree) if node["kind"] == kind]


@pytest.mark.parametrize(("name", "iteration"), tables(*IDS))
def test_every_row_leads_up_to_its_line_in_the_pool(loop: Loop, name: str, iteration: str | None) -> None:
    table = loop.table(name, iteration)
    lines = loop.recipe.pool.path.read_text(encoding="utf-8").split("\n")
    sample = table.group_by("drop_reason", maintain_order=True).head(3)
    for row in sample.iter_rows(named=True):
        answer = ask(loop, row[IDS[name]])
        (top,) = answer["trees"]
        (instruction,) = top["children"]
        assert Path(top["facts"]["file"]) == loop.recipe.pool.path
        assert json.loads(lines[top["facts"]["line"] - 1])["instruction"] == instruction["facts"]["text"]
        assert row[IDS[name]] in [node["id"] for node in walk(top) if node["asked"]]
        assert answer["problems"] == []
        for parent, kind in (("pair_id", "pair"), ("judgment_id", "judgment"), ("instruction_id", "instruction")):
            if parent in row:
                assert row[parent] in [node["id"] for node in of_kind(answer, kind)]


def test_kept_example_leads_to_the_checkpoint_that_judges_the_next_iteration(loop: Loop) -> None:
    examples = loop.table("filtered_set", "iteration_01").filter(pl.col("drop_reason").is_null())
    answer = ask(loop, examples["example_id"][0])
    (checkpoint,) = of_kind(answer, "checkpoint")
    (judge,) = of_kind(answer, "judge")
    benchmark, held_out = loop.recipe.benchmarks[0].name, HELD_OUT
    evaluations = {node["facts"]["benchmark"]: node["facts"]["accuracy"] for node in of_kind(answer, "evaluation")}
    assert checkpoint["facts"]["same_training_set"] is True
    assert set(loop.table("judgments", "iteration_02")["judge"]) == {checkpoint["id"]} == {judge["id"]}
    assert judge["iteration"] == "iteration_02"
    measured = loop.metadata("evaluation", "iteration_01")
    assert evaluations == {benchmark: measured["accuracy"], held_out: measured["held_out_accuracy"]}
    (training_set,) = of_kind(answer, "training_set")
    assert training_set["id"] == loop.metadata("filtered_set", "iteration_01")["training_set_digest"]
    counted = training_set["facts"]["examples"] + training_set["facts"]["validation_examples"]
    assert counted == examples.height


def test_responses_name_the_model_and_the_sampling_that_wrote_them(loop: Loop) -> None:
    answer = ask(loop, loop.table("pairs", "iteration_01")["pair_id"][0])
    for node in of_kind(answer, "response"):
        assert node["facts"]["writer"]["role"] == "seed"
        assert node["facts"]["writer"]["path"] == str(loop.recipe.seed_model)
        assert node["facts"]["sampling"] == loop.recipe.pairs.response.model_dump(mode="json")
        assert node["facts"]["engine"]["name"] == "transformers"


def test_model_knows_what_it_was_trained_on_and_what_it_judged(loop: Loop) -> None:
    digest = str(loop.metadata("checkpoint", "iteration_01")["judge_digest"])
    up, down = ask(loop, digest[:12]), ask(loop, digest, down=True)
    assert (up["kind"], up["id"]) == ("model", digest)
    assert of_kind(up, "training_set")[0]["iteration"] == "iteration_01"
    (judged,) = of_kind(down, "judge")
    judgments = loop.table("judgments", "iteration_02")
    assert judged["facts"]["judgments"] == judgments.height
    assert judged["facts"]["right"] == judgments["is_correct"].sum()
    assert judged["facts"]["checkpoint"] == loop.metadata("checkpoint", "iteration_02")["judge_digest"]


def test_item_shows_the_verdicts_of_seed_and_iterations(loop: Loop) -> None:
    item = loop.table("benchmarks").row(0, named=True)
    answer = ask(loop, f"tiny/{item['item_id']}")
    assert answer["trees"][0]["facts"]["source"] == str(loop.recipe.benchmarks[0].path)
    judges = {(node["iteration"], node["facts"]["judge"]["role"]) for node in of_kind(answer, "verdict")}
    assert judges == {(None, "seed"), ("iteration_01", "checkpoint"), ("iteration_02", "checkpoint")}
    assert len(of_kind(answer, "verdict")) == 12, "two orders, two decodings, three judges"


@pytest.mark.parametrize(("name", "iteration"), tables(*IDS, *MEASURED))
def test_table_carries_what_the_event_log_knows_of_its_making(loop: Loop, name: str, iteration: str | None) -> None:
    made = read_provenance(loop.layout.table(name, iteration))
    event = newest_materialization(loop.instance, loop.key(name), iteration)
    assert (made.asset, made.recipe, made.partition) == (name, "small", iteration)
    assert made.data_version == event.tags["dagster/data_version"] == table_version(loop.table(name, iteration))
    assert made.basis.code_version == event.tags["dagster/code_version"]
    assert made.basis.model_dump() == event.metadata["basis"].value
    assert loop.instance.get_run_by_id(made.run_id) is not None
    assert made.settings["seed"] == loop.recipe.seed
    assert ("engine" in made.settings) is (name in SAMPLED)
    if section := SAMPLED.get(name):
        assert made.settings[section] == loop.recipe.model_dump(mode="json")[section]
        assert made.settings["prompts"]["judge"] == loop.recipe.templates.judge


@pytest.mark.parametrize(("name", "iteration"), tables(*IDS, *MEASURED))
def test_every_column_is_described_and_comes_from_columns_that_exist(
    loop: Loop, name: str, iteration: str | None
) -> None:
    graph = loop.definitions.resolve_asset_graph()
    upstream = {key.path[-1] for key in graph.get(loop.key(name)).parent_keys}
    for column in loop.table(name, iteration).columns:
        assert describe(name, column), column
        for table, origin in origins(name, column):
            assert table in upstream
            assert origin in loop.table(table, None if table in UNPARTITIONED else iteration or ITERATIONS[0]).columns


def test_schema_and_column_lineage_are_in_the_metadata(loop: Loop) -> None:
    metadata = loop.metadata("filtered_set", "iteration_01")
    described = {column.name: column.description for column in metadata["dagster/column_schema"].columns}
    assert described["split"] == describe("filtered_set", "split")
    deps = metadata["dagster/column_lineage"].deps_by_column
    assert deps["completion"] == [dg.TableColumnDep(loop.key("judgments"), "judgment")]
    assert "decoding" not in loop.metadata("evaluation", "iteration_01")["dagster/column_lineage"].deps_by_column


def test_checkpoint_and_the_judge_that_it_becomes_link_to_each_other(loop: Loop) -> None:
    checkpoint, judge = loop.metadata("checkpoint", "iteration_01"), loop.metadata("judge", "iteration_02")
    assert checkpoint["next_judge"] == loop.key("judge")
    assert Path(checkpoint["next_judge_pointer"]) == loop.layout.judge("iteration_02") == Path(judge["pointer"])
    assert judge["checkpoint"] == loop.key("checkpoint")
    assert judge["path"] == checkpoint["path"]
    records = loop.instance.fetch_materializations(
        dg.AssetRecordsFilter(loop.key("checkpoint"), asset_partitions=["iteration_01"]), limit=1
    ).records
    assert judge["trained_by"] == records[0].run_id
    assert "next_judge" not in loop.metadata("checkpoint", "iteration_02"), "the last one"
    assert "checkpoint" not in loop.metadata("judge", "iteration_01"), "the seed model"


def test_each_partition_leads_to_its_section_of_the_report(loop: Loop) -> None:
    for name in ("instructions", "pairs", "judge", "judgments", "filtered_set", "checkpoint", "evaluation"):
        link = loop.metadata(name, "iteration_02")["report"]
        assert link == f"{loop.layout.report.as_uri()}#iteration_02"
    assert "report" not in loop.metadata("benchmarks")


def test_iterations_differ_in_judge_and_examples_but_not_in_settings_and_pairs(loop: Loop) -> None:
    found = diff(*(Side(loop.layout, loop.recipe, iteration) for iteration in ITERATIONS))
    assert found["settings"] == {}
    assert found["settings_from"] == ["tables", "tables"]
    assert found["models"]["generator"][0] == found["models"]["generator"][1]
    assert [model["role"] for model in found["models"]["judge"]] == ["seed", "checkpoint"]
    kept = loop.table("pairs", "iteration_01")["drop_reason"].null_count()
    assert found["shared"]["pairs"] == {
        "both": kept,
        "only_a": 0,
        "only_b": 0,
        "first_only_a": [],
        "first_only_b": [],
    }
    assert found["shared"]["examples"]["both"] == 0
    for number, iteration in enumerate(ITERATIONS):
        counted = found["tables"]["filtered_set"][number]
        assert counted["kept"] == loop.metadata("filtered_set", iteration)["rows_kept"]
        assert counted["rows"] == loop.metadata("filtered_set", iteration)["rows_in"]
    assert found["accuracy"]["before"]["accuracy"] == loop.metadata("evaluation", "iteration_01")["accuracy"]


def test_commands_answer_from_the_data_folder(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_DATA", str(loop.layout.root))
    monkeypatch.setenv("COLUMNS", "80")
    recipe = str(loop.recipe.pool.path.parent / "small.yaml")
    pair = loop.table("pairs", "iteration_01").filter(pl.col("drop_reason").is_null())["pair_id"][0]
    shown = CliRunner().invoke(app, ["trace", pair, "--recipe", recipe])
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.split("\n"))) <= 80
    asked = [line for line in shown.output.split("\n") if "▶" in line]
    assert len(asked) == 1
    assert pair in asked[0]
    as_json = CliRunner().invoke(app, ["trace", pair, "--recipe", recipe, "--json"])
    assert json.loads(as_json.output) == ask(loop, pair)
    whole = CliRunner().invoke(app, ["trace", pair, "--recipe", recipe, "--full"]).output
    assert f"version {read_provenance(loop.layout.table('pairs', 'iteration_01')).data_version}" in whole
    differ = CliRunner().invoke(app, ["diff", *ITERATIONS, "--recipe", recipe])
    assert "No setting differs (as the tables were made)." in differ.output
