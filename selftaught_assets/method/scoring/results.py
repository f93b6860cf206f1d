"""The result table: every judge on one benchmark, compared with the seed and with the judge before it.

A `ResultRow` is what a table or a page shows of a judge; `flat_numbers` spells it out as single numbers under stable
names, so that each has a plot of its own in the UI.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

import polars as pl

from selftaught_assets.method.benchmarks import published_scores
from selftaught_assets.method.costs import Account
from selftaught_assets.method.scoring.accuracy import (
    IS_RIGHT,
    Comparison,
    Scores,
    compare,
    count_by_instruction,
    pooled_verdicts,
    score,
    score_subsets,
    single_sample_accuracy,
)
from selftaught_assets.method.scoring.calibration import trust
from selftaught_assets.method.scoring.statistics import Interval, bootstrap_interval, ratio

_NUMBER_NAMES = {
    "n": "verdicts",
    "interval": "accuracy",
    "interval_clustered": "accuracy_clustered",
    "winner_first": "accuracy_winner_first",
    "loser_first": "accuracy_loser_first",
    "invalid": "invalid_share",
}
"""Names of numbers in metadata, where they stand alone and differ from a row's."""

SUBSET_NUMBERS = ("accuracy", "p_vs_seed_clustered")
"""What of a subset is a number by itself, so that benchmarks with many subsets stay readable."""


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
    costs: dict[str, Account]
    """What each stage sampled for it, by the stage's name."""


class SubsetRow(TypedDict):
    """One judge on one subset: greedy verdicts, as in `ResultRow`."""

    n: int
    accuracy: float
    interval: list[float]
    interval_clustered: list[float]
    accuracy_invalid_half: float
    position_consistent: float
    winner_first: float | None
    loser_first: float | None
    invalid: float
    p_vs_seed: float | None
    """McNemar's exact test against the seed on the same pairs; null for the seed."""
    p_vs_seed_clustered: float | None
    """Exact sign-flip test over instructions against the seed."""
    p_vs_previous: float | None
    """The same two tests against the iteration before."""
    p_vs_previous_clustered: float | None
    """Over instructions."""


class ResultRow(SubsetRow):
    """One judge; shares lie in [0, 1], p-values are exact and two-sided, on greedy verdicts.

    `interval` is Wilson's and `p_vs_…` McNemar's, of single verdicts; `…_clustered` are the bootstrap and the sign-flip
    test over instructions. None where there is nothing to compare with or nothing to count.
    """

    judge: str
    """`seed`, or the iteration whose checkpoint it is."""
    digest: str
    """Of its weights, adapter and tokenizer."""
    items: int
    """Pairs."""
    instructions: int
    """Different instructions of these pairs."""
    difference_vs_seed: float | None
    """Its accuracy minus the seed's."""
    difference_vs_seed_interval: list[float] | None
    """Bootstrap over instructions, 95 %."""
    difference_vs_previous: float | None
    """Its accuracy minus that of the iteration before."""
    difference_vs_previous_interval: list[float] | None
    """Bootstrap over instructions, 95 %."""
    single_sample_accuracy: float
    """Of the votes, each taken alone."""
    vote_accuracy: dict[str, float]
    """By the number of votes of each order."""
    vote_interval_clustered: list[float]
    """Bootstrap over instructions, 95 %."""
    pooled_vote_accuracy: float
    """Of the votes of both orders together, over pairs; a draw is not right."""
    pooled_vote_interval_clustered: list[float]
    """Bootstrap over instructions, 95 %."""
    calibration_error: float
    """Expected calibration error of the votes' shares, as they are."""
    calibrated_error: float | None
    """The same after calibration on the other half of the instructions."""
    trust: dict[str, list[dict[str, float | int | None]]]
    """`reliability` of the votes by confidence, and `coverage`: what abstaining below a threshold would leave."""
    elicited_share: float | None
    """Of greedy verdicts, those that were elicited; null where the recipe elicits none."""
    accuracy_without_elicited: float | None
    """`accuracy` where an elicited verdict counts as invalid."""
    accuracy_without_elicited_interval: list[float] | None
    """Wilson, 95 %."""
    accuracy_without_elicited_interval_clustered: list[float] | None
    """Bootstrap over instructions, 95 %."""
    vote_accuracy_without_elicited: float | None
    """Of the votes of each order, where elicited ones count as invalid."""
    published: dict[str, dict[str, float | list[float]]]
    """The benchmark's own scores by name: value and interval (bootstrap over instructions)."""
    subsets: dict[str, SubsetRow]
    """By name; each has the keys of `SubsetRow`."""
    pairs: int | None
    """Valid pairs judged for its training set; null for the seed."""
    kept: int | None
    """Judgments that it was trained on; null for the seed."""
    seconds: float | None
    """For all stages of its iteration."""
    costs: dict[str, Account]
    """By stage: what it sampled."""


def result_rows(judges: Sequence[Measured], form: str = "pairs") -> list[ResultRow]:
    """One row for each judge (paper section 4, the table of iterations).

    Args:
        judges: the seed first, then the iterations in order, all on the same benchmark.
        form: of the benchmark.

    Raises:
        ValueError: two judges were not measured on the same pairs.
    """
    tables = [judge.verdicts for judge in judges]
    return [
        {
            "judge": judge.judge,
            **measure(
                judge.verdicts,
                seed=tables[0] if index else None,
                previous=tables[index - 1] if index else None,
                form=form,
            ),
            "pairs": judge.pairs,
            "kept": judge.kept,
            "seconds": judge.seconds,
            "costs": judge.costs,
        }
        for index, judge in enumerate(judges)
    ]


def measure(
    verdicts: pl.DataFrame, *, seed: pl.DataFrame | None, previous: pl.DataFrame | None, form: str
) -> dict[str, object]:
    """All that the verdicts of one judge on one benchmark say: a `ResultRow` without who it is and what it cost.

    Args:
        verdicts: greedy ones, and the votes.
        seed: verdicts of the seed on the same pairs, to test against; None for the seed itself.
        previous: the same of the iteration before.
        form: of the benchmark.

    Raises:
        ValueError: two judges were not measured on the same pairs.
    """
    greedy, vote = greedy_of(verdicts), verdicts.filter(pl.col("decoding") == "vote")
    others = {"seed": seed, "previous": previous}
    tests = {name: None if other is None else compare(greedy_of(other), greedy) for name, other in others.items()}
    scores, of_vote, pooled = score(greedy), score(vote), pooled_verdicts(vote)
    votes = vote.select(pl.sum_horizontal("votes_a", "votes_b", "votes_tie", "votes_invalid").max()).item()
    row: dict[str, object] = {
        "digest": verdicts["judge"][0],
        "items": scores.items,
        "instructions": scores.instructions,
        **_subset_row(scores, tests),
    }
    for name, test in tests.items():
        row[f"difference_vs_{name}"] = None if test is None else test.difference
        row[f"difference_vs_{name}_interval"] = None if test is None else list(test.interval)
    published, trusted = published_scores(form, greedy), trust(vote)
    return row | {
        "single_sample_accuracy": single_sample_accuracy(vote),
        "vote_accuracy": {str(votes): of_vote.accuracy},
        "vote_interval_clustered": list(of_vote.interval_clustered),
        "pooled_vote_accuracy": pooled.select(IS_RIGHT.mean()).item(),
        "pooled_vote_interval_clustered": list(
            bootstrap_interval(count_by_instruction(pooled, right=IS_RIGHT.sum(), n=pl.len()), ratio("right", "n"))
        ),
        "calibration_error": trusted.calibration_error,
        "calibrated_error": trusted.calibrated_error,
        **_without_elicited(greedy, vote),
        "trust": {"reliability": trusted.reliability.to_dicts(), "coverage": trusted.coverage.to_dicts()},
        "published": {name: {"value": got.value, "interval": list(got.interval)} for name, got in published.items()},
        "subsets": {
            name: _subset_row(part, {other: _on_subset(name, verdicts, table) for other, table in others.items()})
            for name, part in score_subsets(greedy).items()
        },
    }


def flat_numbers(measured: Mapping[str, object]) -> dict[str, int | float]:
    """What `measure` says as numbers under stable names: ends of intervals, subsets and published scores spelled out.

    Wilson's interval of `accuracy` becomes accuracy_low and accuracy_high, other intervals `<name>_low` and
    `<name>_high`, `SUBSET_NUMBERS` of a subset `subset/<name>/accuracy` and so on, a published score
    `published/<name>`. What is None is left out.
    """
    ((_, vote_accuracy),) = measured["vote_accuracy"].items()
    flat = _flat(measured) | {"vote_accuracy": vote_accuracy}
    if measured["winner_first"] is not None and measured["loser_first"] is not None:
        flat["position_bias"] = (measured["winner_first"] - measured["loser_first"]) / 2
    for name, estimate in measured["published"].items():
        flat[f"published/{name}"] = estimate["value"]
        flat |= _ends(f"published/{name}", estimate["interval"])
    for name, part in measured["subsets"].items():
        flat |= {f"subset/{name}/{number}": part[number] for number in SUBSET_NUMBERS if part[number] is not None}
    return flat


def as_row(scores: Scores, row: type) -> dict[str, object]:
    """The scores that a row shows, intervals as lists.

    Args:
        scores: of one judge.
        row: a `TypedDict`.
    """
    shown = {name: value for name, value in scores._asdict().items() if name in row.__annotations__}
    return {name: list(value) if isinstance(value, Interval) else value for name, value in shown.items()}


def same_items(one: pl.DataFrame | None, other: pl.DataFrame) -> bool:
    """Whether two tables of verdicts are on the same pairs with the same labels, so that they can be compared."""
    key = ["benchmark", "item_id", "order", "decoding", "label"]
    return one is not None and one.select(key).sort(key).equals(other.select(key).sort(key))


def greedy_of(verdicts: pl.DataFrame) -> pl.DataFrame:
    """The greedy verdicts, on which intervals and tests are computed."""
    return verdicts.filter(pl.col("decoding") == "greedy")


def _without_elicited(greedy: pl.DataFrame, vote: pl.DataFrame) -> dict[str, float | list[float] | None]:
    if "votes_elicited" not in greedy.columns:
        return dict.fromkeys(name for name in ResultRow.__annotations__ if "elicited" in name)
    unaided, of_vote = (score(part.with_columns(verdict="verdict_without_elicited")) for part in (greedy, vote))
    return {
        "elicited_share": greedy.select((pl.col("votes_elicited") > 0).mean()).item(),
        "accuracy_without_elicited": unaided.accuracy,
        "accuracy_without_elicited_interval": list(unaided.interval),
        "accuracy_without_elicited_interval_clustered": list(unaided.interval_clustered),
        "vote_accuracy_without_elicited": of_vote.accuracy,
    }


def _on_subset(subset: str, after: pl.DataFrame, before: pl.DataFrame | None) -> Comparison | None:
    if before is None:
        return None
    return compare(*(greedy_of(table).filter(pl.col("subset") == subset) for table in (before, after)))


def _subset_row(scores: Scores, tests: dict[str, Comparison | None]) -> SubsetRow:
    row = as_row(scores, SubsetRow)
    for name, test in tests.items():
        row[f"p_vs_{name}"] = None if test is None else test.p_value
        row[f"p_vs_{name}_clustered"] = None if test is None else test.p_clustered
    return row


def _flat(row: Mapping[str, object]) -> dict[str, int | float]:
    flat: dict[str, int | float] = {}
    for name, value in row.items():
        if isinstance(value, list):
            flat |= _ends(_NUMBER_NAMES.get(name, name), value)
        elif isinstance(value, int | float):
            flat[_NUMBER_NAMES.get(name, name)] = value
    return flat


def _ends(name: str, interval: Sequence[float]) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}
