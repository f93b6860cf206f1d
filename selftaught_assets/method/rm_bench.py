"""RM-Bench's easy, normal and hard accuracy (arXiv 2410.16184, section 3; rule from THU-KEG/RM-Bench).

Styles rise from concise to plain (detailed) to markdown (detailed, with formatting). A pair is normal where both
responses have one style, easy where the better response has the fancier style, and hard where it has the plainer one.
Published judges answer each pair once; ours in both orders, each of which counts one half.
"""

import polars as pl

from selftaught_assets.method.scoring.accuracy import IS_RIGHT, count_by_instruction
from selftaught_assets.method.scoring.statistics import Tally, mean_of, ratio

STYLES = ("concise", "plain", "markdown")
"""From plain to fancy. A pair's `variant` is `<style of the chosen>/<style of the rejected>`."""

LEVELS = ("easy", "normal", "hard")

DOMAINS = {
    "chat": ("chat",),
    "math": ("math",),
    "code": ("code",),
    "safety": ("safety-refuse", "safety-response"),
}
"""Domain → subsets, which it averages."""


def tally(verdicts: pl.DataFrame) -> Tally:
    """easy, normal, hard, the four domains, and `average`, the mean of the domains (and of the three levels).

    Levels are means over the domains, so they are there only if all domains are.

    Args:
        verdicts: subset (the domain), variant, instruction_id, label, verdict.

    Raises:
        ValueError: a variant is not two of the three styles.
    """
    unknown = verdicts.filter(_level().is_null())
    if unknown.height:
        shown = unknown["variant"][0]
        raise ValueError(f"The variant {shown!r} of an RM-Bench pair is not two of {', '.join(STYLES)} with a slash.")
    placed = verdicts.with_columns(level=_level())
    counts: dict[str, pl.Expr] = {}
    for subset in sorted(verdicts["subset"].unique()):
        for level in LEVELS:
            here = (pl.col("subset") == subset) & (pl.col("level") == level)
            counts[f"right {subset} {level}"] = IS_RIGHT.filter(here).sum()
            counts[f"n {subset} {level}"] = here.sum()
    present = set(verdicts["subset"].unique())
    domains = {name: subsets for name, subsets in DOMAINS.items() if present.issuperset(subsets)}
    cell = {
        (name, level): mean_of(*(ratio(f"right {subset} {level}", f"n {subset} {level}") for subset in subsets))
        for name, subsets in domains.items()
        for level in LEVELS
    }
    figures = {name: mean_of(*(cell[name, level] for level in LEVELS)) for name in domains}
    if len(domains) == len(DOMAINS):
        figures |= {level: mean_of(*(cell[name, level] for name in domains)) for level in LEVELS}
        figures["average"] = mean_of(*cell.values())
    return Tally(count_by_instruction(placed, **counts), figures)


def _level() -> pl.Expr:
    levels = {}
    for chosen_rank, chosen in enumerate(STYLES):
        for rejected_rank, rejected in enumerate(STYLES):
            level = "easy" if chosen_rank > rejected_rank else "hard" if chosen_rank < rejected_rank else "normal"
            levels[f"{chosen}/{rejected}"] = level
    return pl.col("variant").replace_strict(levels, default=None, return_dtype=pl.String)
