"""RewardBench 2 (arXiv 2506.01937, section 3; data set: allenai/reward-bench-2; rules from allenai/reward-bench).

A prompt is right if the chosen response beats every rejected one. The benchmark lets a reward model score each
response, or a judge choose one of four at once; our judge sees pairs, and must be right on all of them. It answers
each pair in both orders: a prompt counts one half where the winner stands first throughout, one half where it stands
last.

Of the Ties subset (every one of several right answers must beat every wrong one) only the accuracy can be had from
pairwise verdicts. The published score is 0.3 × its accuracy on prompts with several right answers + 0.3 × that on
their reference prompts with one + 0.4 × margins between scores, which verdicts do not have. So `ties_accuracy`, and
an overall score with it, cannot be compared with published ones.
"""

from collections.abc import Iterable, Iterator

import polars as pl

from selftaught_assets.method.benchmarks.items import Format, Item, Record, placed, texts, with_ids
from selftaught_assets.method.judging import NO_ORDER
from selftaught_assets.method.scoring.accuracy import IS_RIGHT, count_by_instruction, counts_within
from selftaught_assets.method.scoring.statistics import Statistic, Tally, mean_of, ratio

SUBSETS = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
"""The subsets that are scored as best of four."""

_REFERENCE, _SEVERAL = "ties reference", "ties several"


def items(records: Iterable[Record]) -> Iterator[Item]:
    """Every right answer against every wrong one: `id`, `prompt`, `chosen` (list), `rejected` (list), `subset`.

    The pairs of a record are one group: best of 4 gives three pairs, the subset `Ties`, with several right answers,
    gives right × wrong. The ids of `Ties` stay visible in `group_id`: "tied:3", and "ref:3" for its reference with one
    right answer.

    Schema: card of the data set, split `test` (1,865 rows).
    """
    for group, record in with_ids(records, "id"):
        for i, chosen in enumerate(texts(record["chosen"])):
            for j, rejected in enumerate(texts(record["rejected"])):
                yield placed(
                    f"{group}/{i}-{j}", record["prompt"], chosen, rejected, subset=record["subset"], group_id=group
                )


def tally(verdicts: pl.DataFrame) -> Tally:
    """Best-of-four accuracy of each subset, `ties_accuracy`, and the overall means that the subsets allow.

    Args:
        verdicts: subset, group_id (the prompt; in Ties `ref:<n>` or `tied:<n>`, as published), instruction_id, order,
            label, verdict.
    """
    winner = pl.when(pl.col("order") != NO_ORDER).then("label").alias("winner")
    groups = verdicts.group_by("subset", "group_id", "instruction_id", winner).agg(IS_RIGHT.all().alias("right"))
    is_tie = pl.col("subset") == "Ties"
    kind = pl.when(pl.col("group_id").str.starts_with("ref:")).then(pl.lit(_REFERENCE)).otherwise(pl.lit(_SEVERAL))
    groups = groups.with_columns(kind=pl.when(is_tie).then(kind).otherwise("subset"))
    kinds = sorted(groups["kind"].unique())
    counts = counts_within("kind", kinds, right=pl.col("right"))
    return Tally(count_by_instruction(groups, **counts), _figures(kinds))


def _figures(kinds: list[str]) -> dict[str, Statistic]:
    of_kind = {name: ratio(f"right {name}", f"n {name}") for name in kinds}
    figures = {name.lower().replace(" ", "_"): of_kind[name] for name in SUBSETS if name in of_kind}
    complete = len(figures) == len(SUBSETS)
    if complete:
        figures["overall_without_ties"] = mean_of(*(of_kind[name] for name in SUBSETS))
    ties = [of_kind[name] for name in (_REFERENCE, _SEVERAL) if name in of_kind]
    if ties:
        figures["ties_accuracy"] = mean_of(*ties)
        if complete:
            figures["overall_ties_by_accuracy"] = mean_of(*(of_kind[name] for name in SUBSETS), mean_of(*ties))
    return figures


FORMAT = Format("rewardbench2", ("id", "prompt", "chosen", "rejected", "subset"), items, tally)
