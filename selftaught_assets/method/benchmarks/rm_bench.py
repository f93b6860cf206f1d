"""RM-Bench (arXiv 2410.16184, section 3; data and rule: THU-KEG/RM-Bench).

Both the better and the worse response are there in three styles, from concise to plain (detailed) to markdown
(detailed, with formatting). A pair is normal where both have one style, easy where the better response has the fancier
style, and hard where it has the plainer one. Published judges answer each pair once; ours in both orders, each of which
counts one half.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice, repeat

import polars as pl

from selftaught_assets.method.benchmarks.items import Format, Item, Record, placed, texts, with_ids
from selftaught_assets.method.scoring.accuracy import IS_RIGHT, count_by_instruction, counts_within
from selftaught_assets.method.scoring.statistics import Tally, mean_of, ratio

STYLES = ("concise", "plain", "markdown")
"""From plain to fancy, in the order of the published lists."""

LEVELS = ("easy", "normal", "hard")

DOMAINS = {
    "chat": ("chat",),
    "math": ("math",),
    "code": ("code",),
    "safety": ("safety-refuse", "safety-response"),
}
"""Domain → subsets, which it averages."""

_LEVEL_OF = {
    f"{chosen}/{rejected}": "easy" if better > worse else "hard" if better < worse else "normal"
    for better, chosen in enumerate(STYLES)
    for worse, rejected in enumerate(STYLES)
}
"""By `variant`: the style of the chosen response, then that of the rejected one."""


def items(records: Iterable[Record]) -> Iterator[Item]:
    """Every style against every style: `id`, `prompt`, `chosen` (three styles), `rejected` (three styles), `domain`.

    The 3 × 3 pairs of a record are one group; `variant` is the style of the winner, then that of the loser.

    Schema: README and data/*.json of the repository.
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


def tally(verdicts: pl.DataFrame) -> Tally:
    """easy, normal, hard, the four domains, and `average`, the mean of the domains (and of the three levels).

    Levels are means over the domains, so they are there only if all domains are.

    Args:
        verdicts: subset (the domain), variant, instruction_id, label, verdict.

    Raises:
        ValueError: a variant is not two of the three styles.
    """
    level = pl.col("variant").replace_strict(_LEVEL_OF, default=None, return_dtype=pl.String)
    unknown = verdicts.filter(level.is_null())
    if unknown.height:
        shown = unknown["variant"][0]
        raise ValueError(f"The variant {shown!r} of an RM-Bench pair is not two of {', '.join(STYLES)} with a slash.")
    subsets = sorted(verdicts["subset"].unique())
    cells = [f"{subset} {level}" for subset in subsets for level in LEVELS]
    counts = count_by_instruction(
        verdicts.with_columns(cell=pl.concat_str("subset", level, separator=" ")),
        **counts_within("cell", cells, right=IS_RIGHT),
    )
    cell = {
        (name, level): mean_of(*(ratio(f"right {subset} {level}", f"n {subset} {level}") for subset in parts))
        for name, parts in DOMAINS.items()
        if set(subsets).issuperset(parts)
        for level in LEVELS
    }
    domains = list(dict.fromkeys(name for name, _ in cell))
    figures = {name: mean_of(*(cell[name, level] for level in LEVELS)) for name in domains}
    if len(domains) == len(DOMAINS):
        figures |= {level: mean_of(*(cell[name, level] for name in domains)) for level in LEVELS}
        figures["average"] = mean_of(*cell.values())
    return Tally(counts, figures)


def _styled(responses: object) -> Iterator[tuple[str, object]]:
    """A response for each style: a style that the record lacks has None, which is no text."""
    return zip(STYLES, islice(chain(texts(responses), repeat(None)), len(STYLES)), strict=True)


FORMAT = Format("rm_bench", ("id", "prompt", "chosen", "rejected", "domain"), items, tally)
