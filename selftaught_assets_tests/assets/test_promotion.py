"""The gate before publication on a real instance: real checkpoints, one no better and one much worse than the seed."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_materialization
from selftaught_assets.assets.promotion import what_stops, why_not
from selftaught_assets.assets.publication import reference_current_checkpoint, write_judge
from selftaught_assets.engines import factory
from selftaught_assets.recipe import load_recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import read_provenance, write_table
from selftaught_assets_tests.assets.loop import Loop, copy_of, sentences
from selftaught_assets_tests.assets.trained import TRAINED
from selftaught_assets_tests.command_line import Done, selftaught
from selftaught_assets_tests.conftest import SMALL, write_small_recipe
from selftaught_assets_tests.storage.test_promotions import REFUSED

EQUAL, WORSE = 1e-12, 0.5
"""Learning rates: one leaves the seed as it is, the other destroys it."""

JUDGED = ["judge", "judgments", "filtered_set"]


def sections(learning_rate: float, promotion: dict[str, object]) -> dict[str, object]:
    """Of the recipe: how it trains, and which checkpoints may judge."""
    training = SMALL["training"] | {"learning_rate": learning_rate}
    return TRAINED | {"iterations": 3, "training": training, "promotion": promotion}


def gate(loop: Loop, learning_rate: float, **promotion: object) -> Loop:
    """The loop with a learning rate and a `promotion`."""
    promotion |= {"validation": "tiny"} if promotion else {}
    path = write_small_recipe(loop.layout.root.parent, **sections(learning_rate, promotion))
    return Loop(load_recipe(str(path)), loop.layout.root, loop.instance)


@pytest.fixture(scope="module")
def trained(first_iteration: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A loop that has trained both checkpoints of iteration_01, and last the one that leaves the seed as it is.

    In iteration_02 it has its pairs. Its journal holds what the judges of all tests say, and the folder of checkpoints
    the next one: they are found instead of being made in each test.
    """
    with copy_of(first_iteration, tmp_path_factory.mktemp("trained")) as loop:
        train(gate(loop, WORSE))
        train(gate(loop, EQUAL))
        loop.run("iteration", "iteration_02", ["instructions", "pairs"])
        with copy_of(loop, tmp_path_factory.mktemp("ahead")) as ahead:
            train(gate(ahead, WORSE, rule="not_worse"))
            train(ahead := gate(ahead, EQUAL, rule="not_worse"))
            go_on(ahead)
        for made in (ahead.layout.journal_root, *ahead.layout.checkpoints("iteration_02").glob("*/manifest.json")):
            folder = made if made.is_dir() else made.parent
            there = loop.layout.root / folder.relative_to(ahead.layout.root)
            shutil.copytree(folder, there, dirs_exist_ok=True)
        yield loop


@pytest.fixture
def gated(trained: Loop, tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    """Opens the trained loop, in the test's own copy, with a learning rate and a `promotion`."""
    with copy_of(trained, tmp_path) as copied:
        copied.layout.judge("iteration_02").unlink()
        yield partial(gate, copied)


@pytest.fixture(scope="module")
def promoted(trained: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """The loop whose checkpoint, no worse than the seed, judges iteration_02. Nobody changes it."""
    with copy_of(trained, tmp_path_factory.mktemp("promoted")) as copied:
        train(loop := gate(copied, EQUAL, rule="not_worse"))
        yield loop


def train(loop: Loop, iteration: str = "iteration_01") -> dict[str, object]:
    """Materializes a checkpoint, which is found on disk where it is trained already; returns its metadata."""
    loop.run("iteration", iteration, ["checkpoint"])
    return loop.metadata("checkpoint", iteration)


def go_on(loop: Loop) -> dict[str, object]:
    """Goes on with iteration_02, which has its pairs; returns the metadata of its checkpoint."""
    loop.run("iteration", "iteration_02", JUDGED)
    return train(loop, "iteration_02")


def judges(loop: Loop, iteration: str = "iteration_02") -> list[str]:
    """Digests of the judges that an iteration has had, newest first."""
    wanted = dg.AssetRecordsFilter(loop.key("judge"), asset_partitions=[iteration])
    records = loop.instance.fetch_materializations(wanted, limit=100).records
    return [record.asset_materialization.metadata["judge_digest"].value for record in records]


def test_every_checkpoint_is_promoted_and_none_compared_by_default(gated) -> None:
    loop = gated(WORSE)
    shutil.rmtree(loop.layout.journal("evaluation"))
    made = train(loop)
    assert judges(loop)[0] == made["judge_digest"]
    assert not loop.layout.journal("evaluation").exists()
    assert not loop.layout.promotions("iteration_01").exists()
    assert not [name for name in made if name.startswith(("promo", "validation_bench"))]


@pytest.mark.parametrize("rule", ["not_worse", "better"])
def test_worse_checkpoint_is_refused_stays_and_is_marked(gated, rule: str) -> None:
    loop = gated(WORSE, rule=rule)
    before = judges(loop)
    made = train(loop)
    assert made["promotion"] == "refused"
    assert made["validation_lost"] > made["validation_gained"]
    assert made["validation_p_value"] < 0.05
    assert (Path(made["path"]) / "manifest.json").is_file()
    record = json.loads(Path(made["promotion_record"]).read_text())
    assert (record["checkpoint"], record["outcome"], record["rule"]) == (made["judge_digest"], "refused", rule)
    assert judges(loop) == before
    assert not loop.layout.judge("iteration_02").exists()


def test_iteration_after_a_refused_checkpoint_stops_with_its_figures_and_the_way_past(gated) -> None:
    loop = gated(WORSE, rule="not_worse")
    made = train(loop)
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused) == [
        "`small/checkpoint` of iteration_01 was refused (promotion.rule: not_worse): on the benchmark tiny it gained "
        f"{made['validation_gained']} and lost {made['validation_lost']} of 24 verdicts against the current judge "
        f"(p = {made['validation_p_value']:.2g} over instructions); to let it judge anyway: "
        "selftaught promote iteration_01 --recipe small --reason TEXT."
    ]
    assert made["promotion_refused"] == sentences(refused)[0]


def test_refusal_by_the_older_test_says_how_to_have_it_decided_again(small_recipe, tmp_path: Path) -> None:
    family = Family(small_recipe(), Layout(tmp_path, "small"))
    refused = REFUSED.model_copy(update={"schema_version": 1})
    assert "materialize `checkpoint` of iteration_01 again" in why_not(family, "iteration_01", refused)
    assert "older release" not in why_not(family, "iteration_01", REFUSED)


def test_equal_checkpoint_is_not_worse_but_not_better(gated) -> None:
    loop = gated(EQUAL, rule="not_worse")
    made = train(loop)
    assert (made["promotion"], made["validation_gained"], made["validation_lost"]) == ("promoted", 0, 0)
    assert judges(loop)[0] == made["judge_digest"]
    assert train(gated(EQUAL, rule="better"))["promotion"] == "refused"


def test_better_checkpoint_is_promoted(gated) -> None:
    loop = gated(EQUAL, rule="better")
    worse = train(gated(WORSE))["judge_digest"]
    plant_in_office(loop, worse)
    made = train(loop)
    assert made["promotion"] == "promoted"
    assert made["validation_gained"] > made["validation_lost"]


def plant_in_office(loop: Loop, digest: str) -> None:
    """Makes the newest checkpoint, which has this digest, the judge of the very iteration that trained it."""
    family = Family(loop.recipe, loop.layout)
    model = reference_current_checkpoint(family, "iteration_01")
    assert model.digest == digest
    write_judge(family, model, "iteration_01")


def test_verdicts_that_are_in_the_journal_load_no_model(gated, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = gated(EQUAL, rule="not_worse")
    monkeypatch.setattr(factory, "_load", lambda settings, model: pytest.fail(f"{model.digest} is loaded"))
    assert train(loop)["promotion"] == "promoted"


def test_evaluation_samples_no_verdict_again_that_the_gate_has_taken(gated) -> None:
    loop = gated(EQUAL, rule="not_worse")
    train(loop)
    loop.run("iteration", "iteration_01", ["evaluation"])
    costs = loop.metadata("evaluation", "iteration_01")
    assert costs["completions_sampled"] == costs["completions"] - 24


def test_checkpoint_from_before_the_gate_has_to_be_compared_first(gated) -> None:
    train(gated(EQUAL))
    loop = gated(EQUAL, rule="not_worse")
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert "is stale: the recipe changed for checkpoint (`promotion.rule`)" in sentences(refused)[0]
    train(loop)
    loop.run("iteration", "iteration_02", ["judge"])


def test_retrained_checkpoint_needs_its_own_decision(gated) -> None:
    loop = gated(EQUAL, rule="better")
    train(loop)
    assert promote(loop, "iteration_01", "--reason", "a trial").returncode == 0
    worse = gated(WORSE, rule="better")
    assert train(worse)["promotion"] == "refused"
    refused = worse.run("iteration", "iteration_02", ["judge"], fails=True)
    assert "was refused" in sentences(refused)[0]
    # The very same weights once more: what was said of them holds on.
    made = train(gated(EQUAL, rule="better"))
    assert (made["promotion"], made["promotion_reason"]) == ("promoted by hand", "a trial")
    assert judges(loop)[0] == made["judge_digest"]


def test_promoted_by_hand_the_loop_goes_on_and_shows_who_when_and_why(gated, monkeypatch) -> None:
    monkeypatch.setenv("LOGNAME", "ada")
    loop = gated(EQUAL, rule="better")
    digest = train(loop)["judge_digest"]
    before = judges(loop)
    done = promote(loop, "iteration_01", "--reason", " the benchmark is [small] ")
    assert (done.returncode, done.stdout) == (
        0,
        "The checkpoint of iteration_01 is promoted: it judges iteration_02.\n",
    )
    assert judges(loop) == [digest, *before]
    shown = newest_materialization(loop.instance, loop.key("judge"), "iteration_02").metadata
    assert (shown["promoted_by"].value, shown["promotion_reason"].value) == ("ada", "the benchmark is [small]")
    assert abs(datetime.fromtimestamp(shown["promoted_at"].value, UTC) - datetime.now(UTC)) < timedelta(minutes=5)
    observed = loop.instance.fetch_observations(loop.key("checkpoint"), limit=1).records[0].asset_observation
    assert (observed.partition, observed.metadata["promoted_by"].value) == ("iteration_01", "ada")

    loop.run("iteration", "iteration_02", ["judge", "judgments"])
    assert loop.table("judgments", "iteration_02")["judge"].unique().to_list() == [digest]
    assert loop.metadata("judge", "iteration_02")["promoted_by"] == "ada"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["iteration_07", "--reason", "x"], "Recipe small has no iteration 'iteration_07', only iteration_01 to"),
        (["iteration_03", "--reason", "x"], "`small/checkpoint` of iteration_03 does not exist: materialize it first."),
        (["iteration_01", "--reason", "  "], "A promotion by hand needs a reason: say it with --reason."),
        (["iteration_01", "--reason", "x"], "`small/checkpoint` of iteration_01 is promoted already: nothing was cha"),
    ],
)
def test_impossible_promotion_is_one_sentence(promoted: Loop, arguments: list[str], sentence: str) -> None:
    before = judges(promoted)
    refused = promote(promoted, *arguments)
    assert refused.stderr.startswith(f"Error: {sentence}")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert judges(promoted) == before


def test_nothing_is_to_be_overridden_where_every_checkpoint_is_promoted(gated) -> None:
    refused = promote(gated(EQUAL), "iteration_01", "--reason", "x")
    assert refused.returncode == 1
    assert "Recipe small promotes every checkpoint" in refused.stderr


def test_stale_checkpoint_is_not_promoted(gated) -> None:
    loop = gated(EQUAL, rule="better")
    train(loop)
    path = loop.layout.table("judgments", "iteration_01")
    altered = read_provenance(path).model_copy(update={"data_version": "altered"})
    write_table(path, loop.table("judgments", "iteration_01"), altered)
    refused = promote(loop, "iteration_01", "--reason", "x")
    assert refused.returncode == 1
    assert "is stale: judgments changed after filtered_set was made of it" in refused.stderr


def test_loop_without_gain_ends_after_so_many_iterations_and_a_promotion_starts_the_count_anew(
    gated,
) -> None:
    loop = gated(EQUAL, stop_when_flat=1)
    family = Family(loop.recipe, loop.layout)
    made = train(loop)
    assert (made["promotion"], made["flat_iterations"]) == ("flat", 1)
    assert what_stops(family, "iteration_01") is None
    assert what_stops(family, "iteration_02") is not None
    refused = loop.run("iteration", "iteration_02", ["judge"], fails=True)
    assert sentences(refused)[0].startswith(
        "The loop ends with iteration_01, after 1 iteration without a significant gain (promotion.stop_when_flat: 1): "
        "on the benchmark tiny it gained 0 and lost 0 of 24 verdicts"
    )
    assert promote(loop, "iteration_01", "--reason", "go on").returncode == 0
    assert what_stops(family, "iteration_02") is None
    assert go_on(loop)["flat_iterations"] == 1


def test_flat_iterations_in_succession_are_counted(gated) -> None:
    loop = gated(EQUAL, stop_when_flat=2)
    assert train(loop)["promotion"] == "promoted"
    made = go_on(loop)
    assert (made["promotion"], made["flat_iterations"]) == ("flat", 2)
    refused = loop.run("iteration", "iteration_03", ["judge"], fails=True)
    assert sentences(refused)[0].startswith("The loop ends with iteration_02, after 2 successive iterations without")


def test_missing_benchmark_is_one_sentence(gated) -> None:
    loop = gated(EQUAL, rule="better")
    loop.layout.table("benchmarks").unlink()
    refused = loop.run("iteration", "iteration_01", ["checkpoint"], fails=True)
    assert sentences(refused) == ["Judges are compared on the benchmark tiny: materialize `benchmarks` first."]


def promote(loop: Loop, *arguments: str) -> Done:
    """Runs `selftaught promote` on the loop's own instance and data."""
    data = loop.layout.root
    environment = {"DAGSTER_HOME": str(data.parent / "home"), "SELFTAUGHT_DATA": str(data)}
    return selftaught("promote", *arguments, "--recipe", "small.yaml", folder=data.parent, **environment)
