"""How many samples sequential sampling and decided votes spare.

The judge is the demo's seed model, the pairs are of its validation split.

`samples_per_kept`: judgments for each pair that has a right one, all 15 over sequential, on the same random streams.
Beside it what batch sizes cost: how full the engine is while it decodes, and the judgments beyond the first right one.
`vote_32`: judgments of votes of 32 that end once they are decided, over all 32; the verdicts must be the same.
"""

import random
import time
from typing import Any

import polars as pl

from benchmarks.measuring import Result, Side, compared
from selftaught_assets.engines.asking import judge_tasks
from selftaught_assets.engines.embedded.engine import TransformersEngine, load_model, suitable_decoder
from selftaught_assets.engines.journalled import generate
from selftaught_assets.judge.answers import PairQuestion, answer
from selftaught_assets.method.judging import SETTLES, judging_requests, judgments_table, sample_until_right
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.storage.journal import MemoryJournal
from selftaught_assets.storage.models import reference_model
from selftaught_assets.tinyworld.data import Row, make_benchmark

JUDGMENTS = 15
VOTES = 32


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Both benchmarks; they count, so one round is enough."""
    recipe = load_recipe("demo")
    rows = [row for seed in (1, 2, 3) for row in make_benchmark(random.Random(seed), split="validation")]
    rows = rows[:20] if small else rows
    return {
        "samples_per_kept": samples_per_kept(recipe, rows),
        "vote_32": vote_32(recipe, rows[:200]),
    }


def samples_per_kept(recipe: Recipe, rows: list[Row]) -> Result:
    """Fixed number over sequential. The sequential table must be a part of the fixed one."""
    requests = judging_requests(_as_pairs(rows), positions="random", seed=recipe.seed)
    fixed = _Counting(recipe, recipe.engine.max_rows)
    whole = fixed.ask(requests, 0, JUDGMENTS)
    kept = whole.filter(SETTLES)["pair_id"].n_unique()
    found = {}
    for name, capacity in (("one of each", 1), ("batches that fill the engine", recipe.engine.max_rows)):
        judge = _Counting(recipe, recipe.engine.max_rows)
        started = time.perf_counter()
        table = sample_until_right(requests, judge.ask, n=JUDGMENTS, capacity=capacity)
        took = time.perf_counter() - started
        if table.join(whole, on=table.columns, how="anti", nulls_equal=True).height:
            raise RuntimeError("The sequential table is no part of the fixed one.")
        if table.filter(SETTLES)["pair_id"].n_unique() != kept:
            raise RuntimeError("Not the same pairs are kept.")
        found[name] = judge.samples
        print(f"{name}: {judge.samples:,} samples, {judge.occupancy:.0%} of the rows busy, {took:.1f} s")
    samples = found["batches that fill the engine"]
    return compared(
        Side("sequential", [samples / kept], "samples per kept example"),
        Side(f"all {JUDGMENTS}", [fixed.samples / kept], "samples per kept example"),
        n=len(rows),
        inverse=True,
    )


def vote_32(recipe: Recipe, rows: list[Row]) -> Result:
    """Decided over full votes."""
    judge, journal = _Counting(recipe, recipe.engine.max_rows), MemoryJournal()
    verdicts, samples = [], []
    for threshold in (1e-9, 0.0):  # Above 0, all votes are cast.
        questions = [
            PairQuestion(row["instruction"], row["response_a"], row["response_b"], VOTES, abstain_below=threshold)
            for row in rows
        ]
        answers = answer(judge.engine, journal, recipe, questions, lambda _: None)
        verdicts.append([one.verdict for one in answers])
        samples.append(sum(len(one.judgments) for one in answers) / len(rows))
    if verdicts[0] != verdicts[1]:
        raise RuntimeError("A decided vote has another verdict than the full one.")
    return compared(Side("decided", samples[1:], "votes"), Side("full", samples[:1], "votes"), n=len(rows))


class _Counting:
    """The embedded engine, which counts samples and how many of its rows are busy."""

    def __init__(self, recipe: Recipe, max_rows: int) -> None:
        model, tokenizer = load_model(recipe.engine, reference_model(recipe.seed_model))
        self._decoder = _CountingDecoder(suitable_decoder(model))
        self.engine = TransformersEngine(model, tokenizer, "seed", max_rows, self._decoder)
        self.samples = 0
        self._recipe = recipe

    @property
    def occupancy(self) -> float:
        return self._decoder.rows / max(self._decoder.steps, 1) / self.engine.capacity

    def ask(self, requests: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
        tasks = judge_tasks(self._recipe, requests, end, first)
        answers = generate(self.engine, MemoryJournal(), tasks, self._recipe.judgments.sampling, lambda _: None)
        self.samples += answers.frame.height
        return judgments_table(requests, answers.frame, judge="seed")


class _CountingDecoder:
    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.mixes_lengths = decoder.mixes_lengths
        self.steps = self.rows = 0

    def start(self, prompts: Any, owners: Any) -> Any:
        return self._decoder.start(prompts, owners)

    def step(self, cohorts: Any, tokens: Any) -> Any:
        self.steps += 1
        self.rows += len(tokens)
        return self._decoder.step(cohorts, tokens)


def _as_pairs(rows: list[Row]) -> pl.DataFrame:
    winners = [(row["response_a"], row["response_b"])[:: 1 if row["label"] == "A" else -1] for row in rows]
    return pl.DataFrame(
        {
            "pair_id": [f"{number:016x}" for number in range(len(rows))],
            "instruction": [row["instruction"] for row in rows],
            "chosen": [winner for winner, _ in winners],
            "rejected": [loser for _, loser in winners],
            "drop_reason": pl.Series([None] * len(rows), dtype=pl.String),
        }
    )
