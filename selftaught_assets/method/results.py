"""The result table: every judge on one benchmark, compared with the seed and with the judge before it.

Belongs here: what a row of results says. Not here: the statistics (`scores`), collecting the numbers
(assets), printing (cli).
"""

from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import polars as pl

from selftaught_assets.method.scores import compare, score, single_sample_accuracy


class Measured(NamedTuple):
    """A judge, its verdicts on one benchmark, and what it took to make it (None for the seed)."""

    judge: str
    """`seed`, or the iteration whose checkpoint it is."""
    verdicts: pl.DataFrame
    pairs: int | None
    """Valid pairs that were judged to train it."""
    kept: int | None
    """Judgments that it was trained on, validation split excluded."""
    seconds: float | None
    """Of all stages of its iteration."""


class ResultRow(TypedDict):
    """One judge; shares lie in [0, 1], p-values are McNemar's, exact and two-sided, on greedy verdicts."""

    judge: str
    digest: str
    n: int
    accuracy: float
    interval: list[float]
    position_consistent: float
    single_sample_accuracy: float
    vote_accuracy: dict[str, float]
    invalid: float
    p_vs_seed: float | None
    p_vs_previous: float | None
    pairs: int | None
    kept: int | None
    seconds: float | None


def result_rows(judges: Sequence[Measured]) -> list[ResultRow]:
    """One row for each judge (paper section 4, the table of iterations).

    Args:
        judges: the seed first, then the iterations in order, all on the same benchmark.

    Raises:
        ValueError: two judges were not measured on the same pairs.
    """
    rows: list[ResultRow] = []
    greedy = [judge.verdicts.filter(pl.col("decoding") == "greedy") for judge in judges]
    for index, judge in enumerate(judges):
        scores = score(greedy[index])
        vote = judge.verdicts.filter(pl.col("decoding") == "vote")
        votes = int(vote.select(pl.sum_horizontal("votes_a", "votes_b", "votes_invalid").max()).item())
        rows.append(
            {
                "judge": judge.judge,
                "digest": judge.verdicts["judge"][0],
                "n": scores.n,
                "accuracy": scores.accuracy,
                "interval": list(scores.interval),
                "position_consistent": scores.position_consistent,
                "single_sample_accuracy": single_sample_accuracy(vote),
                "vote_accuracy": {str(votes): score(vote).accuracy},
                "invalid": scores.invalid,
                "p_vs_seed": compare(greedy[0], greedy[index]).p_value if index else None,
                "p_vs_previous": compare(greedy[index - 1], greedy[index]).p_value if index else None,
                "pairs": judge.pairs,
                "kept": judge.kept,
                "seconds": judge.seconds,
            }
        )
    return rows
