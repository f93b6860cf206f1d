"""Formats in which one record is several pairs that are scored together."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat

from selftaught_assets.method.benchmarks.items import Item, Record, placed, texts, with_ids

RM_BENCH_STYLES = ("concise", "plain", "markdown")
"""Styles of RM-Bench in the order of its lists: concise, detailed as plain text, detailed with Markdown."""


def rewardbench2(records: Iterable[Record]) -> Iterator[Item]:
    """RewardBench 2: `id`, `prompt`, `chosen` (list), `rejected` (list), `subset`.

    Every right answer against every wrong one, all pairs of a record in one group: best of 4 gives three pairs, the
    subset `Ties`, with several right answers, gives right × wrong. The ids of `Ties` stay visible in `group_id`:
    "tied:3", and "ref:3" for its reference with one right answer.

    Schema: card of the data set allenai/reward-bench-2, split `test` (1,865 rows); arXiv 2506.01937.
    """
    for group, record in with_ids(records, "id"):
        for i, chosen in enumerate(texts(record["chosen"])):
            for j, rejected in enumerate(texts(record["rejected"])):
                yield placed(
                    f"{group}/{i}-{j}", record["prompt"], chosen, rejected, subset=record["subset"], group_id=group
                )


def rm_bench(records: Iterable[Record]) -> Iterator[Item]:
    """RM-Bench: `id`, `prompt`, `chosen` (three styles), `rejected` (three styles), `domain`.

    3 × 3 pairs in one group; `variant` is the style of the winner, then that of the loser.

    Schema: README and data/*.json of the repository THU-KEG/RM-Bench; arXiv 2410.16184.
    """
    for group, record in with_ids(records, "id"):
        for chosen_style, chosen in _styled(record["chosen"]):
            for rejected_style, rejected in _styled(record["rejected"]):
                variant = f"{chosen_style}/{rejected_style}"
                yield placed(
                    f"{group}/{variant}",
                    record["prompt"],
                    chosen,
                    rejected,
                    subset=record["domain"],
                    group_id=group,
                    variant=variant,
                )


def _styled(responses: object) -> Iterator[tuple[str, object]]:
    """A response for each style: a style that the record lacks has None, which is no text."""
    return zip(RM_BENCH_STYLES, islice(chain(texts(responses), repeat(None)), len(RM_BENCH_STYLES)), strict=True)
