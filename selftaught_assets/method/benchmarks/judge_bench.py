"""JudgeBench (arXiv 2410.12784; data and rule: ScalerLab/JudgeBench)."""

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from selftaught_assets.method.benchmarks.items import Format, Item, Label, Record, label_of, with_ids
from selftaught_assets.method.scoring.accuracy import combined_verdicts, count_by_instruction
from selftaught_assets.method.scoring.statistics import Tally, ratio

SOURCES = ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench")
"""The four groups that are reported; MMLU-Pro's sources go on with the field ("mmlu-pro-law")."""

_LABELS: Mapping[Label, str] = {"A": "A>B", "B": "B>A", "TIE": "A=B"}


def items(records: Iterable[Record]) -> Iterator[Item]:
    """Every record is a pair: `pair_id`, `source`, `question`, `response_A`, `response_B`, `label` (`A>B` or `B>A`).

    Schema: data/*.jsonl of the repository, and its grouping by source.
    """
    for item_id, record in with_ids(records, "pair_id"):
        source = str(record["source"])
        yield Item(
            item_id,
            record["question"],
            record["response_A"],
            record["response_B"],
            label_of(record["label"], _LABELS),
            next((group for group in SOURCES if source.startswith(group)), source),
            label_seen=record["label"],
        )


def tally(verdicts: pl.DataFrame) -> Tally:
    """`both_orders_accuracy`: a pair is right if one order names the better response and the other does not contradict.

    Each order votes for a response, for the other, or for none (a tie or an invalid verdict); the sum must favour the
    better one. Opposite verdicts, and two that name none, are wrong.

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict.
    """
    pairs = combined_verdicts(verdicts)
    other = pl.col("label").replace({"A": "B", "B": "A"})
    votes_for, votes_against = (
        pl.sum_horizontal((pl.col(order) == side).fill_null(False).cast(int) for order in ("verdict_ab", "verdict_ba"))
        for side in (pl.col("label"), other)
    )
    counts = count_by_instruction(pairs, right=(votes_for > votes_against).sum(), n=pl.len())
    return Tally(counts, {"both_orders_accuracy": ratio("right", "n")})


_FIELDS = ("pair_id", "source", "question", "response_A", "response_B", "label")
FORMAT = Format("judgebench", _FIELDS, items, tally)
