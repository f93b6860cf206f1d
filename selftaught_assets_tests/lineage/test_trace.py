"""`trace` on tables made by hand: what is awkward. test_real_run.py follows the rows of a real run."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.lineage import Trace, trace
from selftaught_assets.lineage.nodes import walk
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import write_table
from selftaught_assets_tests.lineage.made import (
    CHECKPOINT,
    DROPPED_PAIR,
    FIRST,
    INSTRUCTION,
    OTHER,
    PAIR,
    PAIRS,
    POOL,
    SECOND,
    SEED,
    UNSELECTED,
    provenance,
    write_tables,
)

Ask = Callable[..., Trace]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return write_tables(tmp_path / "data")


@pytest.fixture
def ask(layout: Layout, small_recipe: Callable[..., Recipe]) -> Ask:
    recipe = small_recipe()
    return lambda id, **options: trace(layout, recipe, id, **options)


def of_kind(answer: Trace, kind: str) -> list[dict]:
    return [node for tree in answer["trees"] for node in walk(tree) if node["kind"] == kind]


def refused(ask: Ask, id: str, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        ask(id, **options)
    return str(caught.value)


@pytest.mark.parametrize(("own", "instruction"), [("mine-2", OTHER), ("mine-3", INSTRUCTION), ("8", UNSELECTED)])
def test_an_instruction_is_found_by_the_id_of_the_users_file(ask: Ask, own: str, instruction: str) -> None:
    assert ask(own)["id"] == instruction
    assert ask(own, down=True)["kind"] == "instruction"


def test_the_line_of_the_pool_names_the_users_id(ask: Ask) -> None:
    (line,) = of_kind(ask(OTHER), "pool_line")
    assert line["facts"]["pool_id"] == "mine-2"


def test_the_beginning_of_a_users_id_is_no_id(ask: Ask) -> None:
    assert "No row or model has the id 'mine'" in refused(ask, "mine")


def test_a_pool_of_an_earlier_version_has_no_ids_of_the_users_file(ask: Ask, layout: Layout) -> None:
    write_table(layout.table("instruction_pool"), POOL.drop("pool_id"))
    assert ask(OTHER)["id"] == OTHER
    assert "No row or model has the id 'mine-2'" in refused(ask, "mine-2")


def test_room_is_light_to_import() -> None:
    check = "import selftaught_assets.lineage, sys; sys.exit(bool({'dagster', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_pair_shows_the_branch_of_each_iteration_and_the_kept_judgment(ask: Ask) -> None:
    answer = ask(PAIR)
    (top,) = answer["trees"]
    assert (top["kind"], top["facts"]["line"], top["facts"]["repeated_on"]) == ("pool_line", 1, [3])
    assert [node["iteration"] for node in of_kind(answer, "judging")] == [FIRST, SECOND]
    assert [node["facts"]["judge"]["digest"] for node in of_kind(answer, "judging")] == [SEED, CHECKPOINT]
    judged = of_kind(answer, "judgment")
    assert [(node["facts"]["kept"], node["facts"]["drop_reason"]) for node in judged] == [
        (False, "wrong_verdict"),
        (True, None),
    ] * 2
    assert [node["id"] for tree in answer["trees"] for node in walk(tree) if node["asked"]] == [PAIR]


def test_answer_is_json(ask: Ask) -> None:
    assert json.loads(json.dumps(ask(PAIR))) == ask(PAIR)


@pytest.mark.parametrize(
    ("id", "kind"),
    [(INSTRUCTION, "instruction"), (PAIR, "pair"), ("cc1c000000000001", "judgment"), ("dd2d000000000000", "example")],
)
def test_id_says_itself_what_it_is_of(ask: Ask, id: str, kind: str) -> None:
    answer = ask(id)
    assert (answer["id"], answer["kind"]) == (id, kind)


def test_unambiguous_beginning_finds_the_row(ask: Ask) -> None:
    assert ask("aaab")["id"] == UNSELECTED


def test_ambiguous_beginning_is_one_sentence_with_the_candidates(ask: Ask) -> None:
    assert refused(ask, "bbbb") == f"'bbbb' is ambiguous: pair {PAIR}, pair {DROPPED_PAIR}; give more characters."


def test_unknown_id_says_where_it_looked(ask: Ask, layout: Layout) -> None:
    said = refused(ask, "ffff")
    assert said.startswith(
        "No row or model has the id 'ffff': looked at instruction_pool, pairs, judgments, filtered_set"
    )
    assert str(layout.folder) in said


def test_too_short_a_beginning_is_refused(ask: Ask) -> None:
    assert refused(ask, "bbb") == "'bbb' is too short: give at least 4 characters of an id."


def test_nothing_materialized_is_said(tmp_path: Path, small_recipe: Callable[..., Recipe]) -> None:
    with pytest.raises(UserError, match=r"looked at no table \(nothing is materialized\)"):
        trace(Layout(tmp_path / "empty", "small"), small_recipe(), PAIR)


def test_dropped_pair_has_its_reason_and_no_judgments(ask: Ask) -> None:
    answer = ask(DROPPED_PAIR)
    (pair,) = of_kind(answer, "pair")
    assert pair["facts"]["drop_reason"] == "responses_equal"
    assert not of_kind(answer, "judging")
    assert answer["trees"][0]["facts"]["line"] == 2


def test_instruction_says_why_it_was_not_selected(ask: Ask) -> None:
    (instruction,) = of_kind(ask(UNSELECTED), "instruction")
    assert instruction["facts"]["not_selected_in"] == dict.fromkeys((FIRST, SECOND), "not_selected")
    assert not instruction["children"]


def test_down_from_an_instruction_are_its_pairs_and_all_that_came_of_them(ask: Ask) -> None:
    answer = ask(INSTRUCTION, down=True)
    assert [tree["id"] for tree in answer["trees"]] == [INSTRUCTION]
    assert len(of_kind(answer, "judgment")) == 4
    assert [node["id"] for node in of_kind(ask(OTHER, down=True), "pair")] == [DROPPED_PAIR]


def test_down_from_a_judgment_is_its_example_alone(ask: Ask) -> None:
    answer = ask("cc2c000000000001", down=True)
    assert [tree["kind"] for tree in answer["trees"]] == ["judgment"]
    assert [node["id"] for node in of_kind(answer, "example")] == ["dd2d000000000001"]


def test_judgment_is_shown_among_those_of_its_own_iteration(ask: Ask) -> None:
    answer = ask("cc2c000000000000")
    assert [node["iteration"] for node in of_kind(answer, "judging")] == [SECOND]
    assert len(of_kind(answer, "judgment")) == 2


def test_one_iteration_can_be_chosen(ask: Ask) -> None:
    answer = ask(PAIR, iteration=SECOND)
    assert [node["iteration"] for node in of_kind(answer, "judging")] == [SECOND]
    assert "iterations there: iteration_01, iteration_02" in refused(ask, PAIR, iteration="iteration_07")


def test_half_way_through_an_iteration_what_is_there_is_shown_and_what_is_missing_said(
    ask: Ask, layout: Layout
) -> None:
    layout.table("filtered_set", SECOND).unlink()
    answer = ask(PAIR)
    assert answer["problems"] == [f"The filtered set of {SECOND} does not exist yet."]
    last = of_kind(answer, "judging")[-1]["facts"]
    assert (last["sampled"], last["kept"]) == (2, 0)
    layout.table("judgments", SECOND).unlink()
    answer = ask(PAIR)
    assert answer["problems"] == [f"The judgments of {SECOND} do not exist yet."]
    assert of_kind(answer, "judging")[-1]["facts"]["judge"] is None


def test_row_whose_parents_are_gone_shows_what_is_left(ask: Ask, layout: Layout) -> None:
    layout.table("instruction_pool").unlink()
    answer = ask(PAIR)
    assert "not in the current pool" in answer["problems"][0]
    assert of_kind(answer, "instruction")[0]["facts"]["text"] == "Do this."
    for iteration in (FIRST, SECOND):
        layout.table("pairs", iteration).unlink()
    answer = ask("dd1d000000000001")
    assert [tree["kind"] for tree in answer["trees"]] == ["pair"]
    assert f"The pair {PAIR} is not in any current table of pairs." in answer["problems"]
    assert len(of_kind(answer, "judgment")) == 2


def test_table_says_how_it_was_made_and_who_sampled_what(ask: Ask, layout: Layout) -> None:
    known = provenance("pairs", FIRST, "v1")
    write_table(layout.table("pairs", FIRST), PAIRS, known)
    answer = ask(PAIR)
    chosen, rejected = of_kind(answer, "response")
    (modified,) = of_kind(answer, "modified_instruction")
    temperatures = [node["facts"]["sampling"]["temperature"] for node in (chosen, modified, rejected)]
    assert temperatures == [0.5, 0.8, 0.5]
    (made,) = [table for table in answer["tables"] if (table["asset"], table["iteration"]) == ("pairs", FIRST)]
    assert (made["data_version"], made["code_version"], made["run_id"]) == ("v1", known.basis.code_version, "run")


def test_rejected_response_of_one_call_was_sampled_as_the_modification(ask: Ask, layout: Layout) -> None:
    made = provenance("pairs", FIRST, "v1")
    said = made.settings | {"pairs": made.settings["pairs"] | {"form": "one_call"}}
    write_table(layout.table("pairs", FIRST), PAIRS, made.model_copy(update={"settings": said}))
    _, rejected = of_kind(ask(PAIR), "response")
    assert rejected["facts"]["sampling"]["temperature"] == 0.8


def test_table_that_was_made_of_another_input_is_named(
    ask: Ask, layout: Layout, small_recipe: Callable[..., Recipe]
) -> None:
    recipe, judged = small_recipe(), pl.read_parquet(layout.table("judgments", FIRST))
    write_table(layout.table("judgments", FIRST), judged, provenance("judgments", FIRST, "v2", recipe, pairs="old"))
    assert ask(PAIR)["problems"] == []  # Nothing is known of the pairs.
    write_table(layout.table("pairs", FIRST), PAIRS, provenance("pairs", FIRST, "new", recipe))
    assert ask(PAIR)["problems"] == [f"`judgments` of {FIRST} is stale: pairs changed after judgments was made of it."]


def test_table_of_another_recipe_or_of_other_code_is_named(
    ask: Ask, layout: Layout, small_recipe: Callable[..., Recipe]
) -> None:
    other = provenance("pairs", FIRST, "v1", small_recipe(pairs={"form": "one_call"}))
    write_table(layout.table("pairs", FIRST), PAIRS, other)
    assert ask(PAIR)["problems"] == [f"`pairs` of {FIRST} is stale: the recipe changed for pairs (`pairs`)."]
    older = provenance("pairs", FIRST, "v1", small_recipe())
    older = older.model_copy(update={"basis": older.basis.model_copy(update={"code": 0})})
    write_table(layout.table("pairs", FIRST), PAIRS, older)
    assert "the code of pairs changed (version 0, now " in ask(PAIR)["problems"][0]


def test_verdicts_about_a_held_out_pair_belong_to_it(ask: Ask, layout: Layout) -> None:
    row = {
        "benchmark": "held_out",
        "item_id": PAIR,
        "order": "AB",
        "decoding": "greedy",
        "judge": CHECKPOINT,
        "label": "A",
        "votes_a": 1,
        "votes_b": 0,
        "votes_tie": 0,
        "votes_invalid": 0,
        "verdict": "A",
        "score": 1.0,
    }
    write_table(layout.table("evaluation", SECOND), pl.DataFrame([row, row | {"order": "BA", "score": 0.0}]))
    verdicts = of_kind(ask(PAIR), "verdict")
    assert [(node["iteration"], node["facts"]["order"], node["facts"]["right"]) for node in verdicts] == [
        (SECOND, "AB", True),
        (SECOND, "BA", False),
    ]


def test_item_is_found_by_its_whole_id_however_short_and_by_its_benchmark_where_two_have_it(
    ask: Ask, layout: Layout
) -> None:
    item = {
        "benchmark": ["one", "one", "two"],
        "subset": "all",
        "item_id": ["7", "77777", "7"],
        "instruction": "Which?",
        "response_a": "a",
        "response_b": "b",
        "label": "A",
        "drop_reason": None,
    }
    write_table(layout.table("benchmarks"), pl.DataFrame(item, schema_overrides={"drop_reason": pl.String}))
    assert refused(ask, "7") == "'7' is ambiguous: item one/7, item two/7; give more characters."
    answer = ask("two/7")
    assert (answer["kind"], answer["trees"][0]["facts"]["benchmark"]) == ("item", "two")


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing PAR1"])
def test_damaged_table_is_one_sentence(ask: Ask, layout: Layout, content: bytes) -> None:
    path = layout.table("pairs", FIRST)
    path.write_bytes(content)
    assert refused(ask, PAIR) == f"The table {path} is damaged: materialize it again."


def test_table_damaged_in_the_middle_or_of_another_version_is_one_sentence(ask: Ask, layout: Layout) -> None:
    path = layout.table("pairs", FIRST)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    assert f"A table in {layout.folder} is damaged (" in refused(ask, PAIR)
    write_table(path, PAIRS.drop("pair_id"))
    assert f"A table in {layout.folder} was written by another version (" in refused(ask, PAIR)


def test_only_tables_that_say_something_of_the_row_are_named(ask: Ask) -> None:
    named = {table["asset"] for table in ask(INSTRUCTION)["tables"]}
    assert named == {"instruction_pool", "instructions"}


def test_repeated_instruction_leads_to_the_line_that_the_pool_keeps(ask: Ask) -> None:
    assert POOL.filter(pl.col("instruction_id") == INSTRUCTION).height == 2
    assert ask(INSTRUCTION)["trees"][0]["facts"]["drop_reason"] is None
