"""What is measured is what serves: `evaluation`, `selftaught judge` and the service give a pair the same votes.

Each of them really runs, on the seed model and one data folder. The pairs are those of the recipe's benchmark.
"""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from selftaught_assets.cli import app
from selftaught_assets.judge import Judge
from selftaught_assets.judge.export import export_judge
from selftaught_assets.judge.service import build_app
from selftaught_assets.method.scoring.accuracy import pooled_verdicts
from selftaught_assets.recipe import load_recipe
from selftaught_assets_tests.assets.loop import Loop, open_loop
from selftaught_assets_tests.conftest import ROOT, SMALL, write_small_recipe

VOTES = 5
COUNTS = ("votes_a", "votes_b", "votes_tie", "verdict")
EVALUATION = {"votes": VOTES, "sampling": {"temperature": 1.5, "top_p": 1.0, "max_tokens": 96}}
"""Hot enough for votes that differ."""
ALL_VOTES = 1e-9
"""A confidence to abstain below, for which all votes are cast, and below which none is."""


class Measured(NamedTuple):
    """A recipe whose seed model is evaluated, and the same model as a service."""

    loop: Loop
    recipe_path: Path
    service: TestClient

    @property
    def orders(self) -> tuple[bool, ...]:
        """Whether both orders are asked, as far as the form has any."""
        return (False,) if self.loop.recipe.judgments.form == "single" else (False, True)

    def measured(self, decoding: str, *, both_orders: bool) -> pl.DataFrame:
        """What the table of `seed_evaluation` says of each pair."""
        table = self.loop.table("seed_evaluation").filter(pl.col("decoding") == decoding)
        return pooled_verdicts(table) if both_orders else table.filter(pl.col("order") != "BA")

    def pairs(self) -> pl.DataFrame:
        items = self.loop.table("benchmarks")
        return items.select(
            pl.concat_str("benchmark", "item_id", separator="/").alias("pair_id"),
            "instruction",
            "response_a",
            "response_b",
        )

    def judged_by_command(self, folder: Path, *options: str) -> pl.DataFrame:
        self.pairs().write_parquet(folder / "pairs.parquet")
        arguments = ["judge", str(folder / "pairs.parquet"), "-o", str(folder / "verdicts.parquet"), "--judge", "seed"]
        done = CliRunner(env={"SELFTAUGHT_DATA": str(self.loop.layout.root)}).invoke(
            app, [*arguments, "--recipe", str(self.recipe_path), *options], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return pl.read_parquet(folder / "verdicts.parquet")

    def judged_over_http(self, **options: object) -> pl.DataFrame:
        bodies = [pair | options for pair in self.pairs().iter_rows(named=True)]
        with ThreadPoolExecutor(len(bodies)) as clients:
            answers = list(clients.map(lambda body: self.service.post("/v1/compare", json=body), bodies))
        return pl.DataFrame([answer.raise_for_status().json() for answer in answers])

    def sampled(self) -> int:
        """Completions in the journals, each counted as often as it was sampled."""
        return sum(pl.read_parquet(path).height for path in self.loop.layout.journal_root.glob("*/*.parquet"))


@pytest.fixture(scope="module", params=["pairwise", "single", "elicited"])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp(request.param)
    form = {"single": single_form, "elicited": cut_short}.get(request.param, lambda _: {})(folder)
    path = write_small_recipe(folder, **({"evaluation": EVALUATION} | form))
    with open_loop(load_recipe(str(path)), folder) as loop:
        loop.run("prepare", assets=["seed_model", "benchmarks", "seed_evaluation"])
        with (
            Judge.load("seed", str(path), data=loop.layout.root) as judge,
            TestClient(build_app(judge), base_url="http://localhost") as client,
        ):
            yield Measured(loop, path, client)


def single_form(folder: Path) -> dict[str, object]:
    """Sections of a recipe whose seed model rates: what it calls [[A]] is spelled [[7]], and [[B]] is [[3]]."""
    rater = shutil.copytree(ROOT / "models" / "seed", folder / "rater")
    tokenizer = json.loads((rater / "tokenizer.json").read_text(encoding="utf-8"))
    spelled = [
        {"type": "Replace", "pattern": {"String": f"[[{verdict}]]"}, "content": f"[[{rating}]]"}
        for verdict, rating in (("A", 7), ("B", 3))
    ]
    tokenizer["decoder"]["decoders"] += [{"type": "Fuse"}, *spelled]
    (rater / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    prompts = shutil.copytree(SMALL["prompts"], folder / "prompts")
    (prompts / "score.jinja").write_text("Judge: {{ instruction }}\nA: {{ response }}\nB: 1", encoding="utf-8")
    return {
        "seed_model": str(rater),
        "prompts": str(prompts),
        "judgments": SMALL["judgments"] | {"form": "single"},
    }


def cut_short(folder: Path) -> dict[str, object]:
    """Sections of a recipe whose judge is cut off before its verdict, and asked for it."""
    sampling = EVALUATION["sampling"] | {"max_tokens": 12}
    return {
        "evaluation": EVALUATION | {"sampling": sampling},
        "verdicts": {"elicit": "missing", "closing": "\n"},
    }


def told(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    """Votes and verdict of each pair; INVALID is null in tables."""
    return frame.select(*COUNTS[:-1], pl.col("verdict").replace("INVALID", None)).rows()


DECODINGS = pytest.mark.parametrize(("decoding", "votes"), [("greedy", 1), ("vote", VOTES)])


def test_the_measurement_has_something_to_agree_with(measured: Measured) -> None:
    voted = measured.measured("vote", both_orders=False)
    assert {"A", "B"} <= set(voted["verdict"])
    assert voted.filter((pl.col("votes_a") > 0) & (pl.col("votes_b") > 0)).height > 0, "votes that differ"
    if "votes_elicited" in voted.columns:
        assert 0 < voted["votes_elicited"].sum() < VOTES * voted.height


@DECODINGS
def test_the_command_gives_the_measured_votes_without_sampling_them_again(
    measured: Measured, tmp_path: Path, decoding: str, votes: int
) -> None:
    before = measured.sampled()
    for both_orders in measured.orders:
        options = ["--votes", str(votes), "--abstain-below", str(ALL_VOTES), *["--both-orders"][: int(both_orders)]]
        found = measured.judged_by_command(tmp_path, *options)
        assert told(found) == told(measured.measured(decoding, both_orders=both_orders))
    assert measured.sampled() == before


@DECODINGS
def test_the_service_gives_the_measured_votes(measured: Measured, decoding: str, votes: int) -> None:
    for both_orders in measured.orders:
        found = measured.judged_over_http(votes=votes, both_orders=both_orders, abstain_below=ALL_VOTES)
        assert told(found) == told(measured.measured(decoding, both_orders=both_orders))


def test_votes_that_end_early_give_the_measured_verdict(measured: Measured) -> None:
    for both_orders in measured.orders:
        found = measured.judged_over_http(votes=VOTES, both_orders=both_orders)
        expected = measured.measured("vote", both_orders=both_orders)
        assert [verdict for *_, verdict in told(found)] == [verdict for *_, verdict in told(expected)]


def test_pairs_without_a_name_get_the_same_greedy_votes_and_other_samples(measured: Measured) -> None:
    greedy, voted = (
        measured.judged_over_http(votes=votes, abstain_below=ALL_VOTES, pair_id=None) for votes in (1, VOTES)
    )
    assert told(greedy) == told(measured.measured("greedy", both_orders=False))
    assert told(voted) != told(measured.measured("vote", both_orders=False)), "or the name would make no difference"


def test_an_exported_judge_is_asked_in_the_form_of_its_recipe(measured: Measured, tmp_path: Path) -> None:
    exported = export_judge("seed", tmp_path / "judge", measured.loop.recipe, measured.loop.layout, merge=False)
    (pair, *_) = measured.pairs().iter_rows(named=True)
    expected = measured.service.post("/v1/compare", json=pair | {"votes": 1, "judgments": True}).json()
    with Judge.load(tmp_path / "judge", data=tmp_path) as judge:
        found = judge.compare(**pair, votes=1)
    assert exported.name == "seed"
    assert [one.text for one in found.judgments] == [one["text"] for one in expected["judgments"]]
    assert found.verdict == expected["verdict"]
