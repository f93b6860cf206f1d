"""A recipe's tables and checkpoints, read for the report as figures: lazily, only the columns that one needs."""

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import polars as pl

from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.method.identity import draw
from selftaught_assets.method.judging import SETTLES
from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.recipe import Recipe
from selftaught_assets.report.contents import Iteration, Language, Side, Step
from selftaught_assets.storage.checkpoints import Manifest, find_current_checkpoint, read_manifest
from selftaught_assets.storage.layout import Layout

NO_RIGHT = "no_right_judgment"
LANGUAGE_SAMPLE = 1_000
"""Judgments of which diversity is measured: its figures depend on how much text there is, so it is always the same."""
BINS = 24

_WORD = re.compile(r"\w+|[^\w\s]")
_KEPT = pl.col("drop_reason").is_null()


def table_steps(before: str, after: str, table: pl.LazyFrame) -> list[Step]:
    """Two steps: all rows of a table, and the kept ones with what was dropped, the most frequent reason first."""
    counts = dict(_counted(table.group_by("drop_reason").len()).iter_rows())
    kept = counts.pop(None, 0)
    return [Step(before, kept + sum(counts.values()), {}), Step(after, kept, counts)]


def right_step(name: str, valid: int, judgments: pl.LazyFrame) -> Step:
    """How many pairs have a right judgment.

    Args:
        name: of the step.
        valid: pairs that were judged.
        judgments: pair_id, is_correct.
    """
    solved = judgments.filter("is_correct").select(pl.col("pair_id").n_unique()).collect().item()
    return Step(name, solved, {NO_RIGHT: valid - solved} if valid > solved else {})


def example_step(name: str, judgments: pl.LazyFrame, examples: pl.LazyFrame) -> Step:
    """Training examples, and the pairs with a right judgment of which none became one, by the reason for which.

    Args:
        name: of the step.
        judgments: judgment_id, pair_id, is_correct.
        examples: judgment_id, pair_id, drop_reason.
    """
    used = examples.filter(_KEPT).select("pair_id").unique()
    right = judgments.filter("is_correct").select("judgment_id")
    lost = examples.join(right, on="judgment_id", how="semi").join(used, on="pair_id", how="anti")
    reasons = lost.group_by("pair_id").agg(pl.col("drop_reason").sort().first()).group_by("drop_reason").len()
    kept = examples.filter(_KEPT).select(pl.len()).collect().item()
    return Step(name, kept, dict(_counted(reasons).iter_rows()))


def first_right(judgments: pl.LazyFrame, *, n: int) -> pl.DataFrame:
    """Where sampling stops at the first right judgment: how many samples that took.

    Args:
        judgments: pair_id, chosen_position, sample_index, is_correct, finish_reason.
        n: the most that a pair may have.

    Returns:
        label ("1" … n, "none"), pairs; every label once, in this order.
    """
    first = pl.col("sample_index").filter(SETTLES).min() + 1
    found = judgments.group_by("pair_id", "chosen_position").agg(first.alias("first")).group_by("first").len().collect()
    counts = dict(found.iter_rows())
    labels = [*range(1, n + 1), None]
    return pl.DataFrame(
        {"label": ["none" if label is None else str(label) for label in labels]}
        | {"pairs": [counts.get(label, 0) for label in labels]}
    )


def pass_rates(judgments: pl.LazyFrame, *, request: str) -> pl.DataFrame:
    """Where all judgments are sampled: how many pairs have which share of right ones.

    Args:
        judgments: pair_id, is_correct, and the column `request`.
        request: what, with the pair, tells apart what was asked: chosen_position or rated.

    Returns:
        label ("0 %" … "100 %", in steps of ten), pairs; every label once, in this order.
    """
    share = pl.col("is_correct").mean()
    tens = judgments.group_by("pair_id", request).agg((share * 10).round().cast(pl.Int64).alias("tens"))
    counts = dict(tens.group_by("tens").len().collect().iter_rows())
    return pl.DataFrame(
        {"label": [f"{10 * ten} %" for ten in range(11)], "pairs": [counts.get(t, 0) for t in range(11)]}
    )


def position_sides(judgments: pl.LazyFrame) -> list[Side]:
    """How often first judgments are right, by where the chosen response stood; only first ones, since a right one may
    end the search.

    Args:
        judgments: sample_index, chosen_position, is_correct.
    """
    firsts = judgments.filter(pl.col("sample_index") == 0, pl.col("chosen_position").is_not_null())
    counts = firsts.group_by("chosen_position").agg(pl.len(), pl.col("is_correct").sum()).sort("chosen_position")
    return [Side(place, n, right, *wilson_interval(right, n)) for place, n, right in counts.collect().iter_rows()]


def label_counts(examples: pl.LazyFrame) -> pl.DataFrame:
    """Kept examples by split and label: split, label, examples."""
    counts = examples.filter(_KEPT).group_by("split", "label").agg(pl.len().cast(pl.Int64).alias("examples"))
    return counts.sort("split", "label").collect()


def length_bins(judgments: pl.LazyFrame) -> pl.DataFrame:
    """How long judgments are, right and wrong ones apart: tokens (lower end of a bin), width, outcome, judgments.

    Args:
        judgments: completion_tokens, is_correct.
    """
    known = judgments.filter(pl.col("completion_tokens").is_not_null())
    low, high = (
        known.select(pl.col("completion_tokens").min().alias("low"), pl.col("completion_tokens").max().alias("high"))
        .collect()
        .row(0)
    )
    width = 1 if low is None else max(1, -(-(high - low + 1) // BINS))
    lower = (pl.col("completion_tokens") - (low or 0)) // width * width + (low or 0)
    outcome = pl.when("is_correct").then(pl.lit("right")).otherwise(pl.lit("wrong or invalid"))
    bins = known.group_by(lower.alias("tokens"), outcome.alias("outcome")).agg(
        pl.len().cast(pl.Int64).alias("judgments")
    )
    return bins.with_columns(pl.lit(width, dtype=pl.Int64).alias("width")).sort("tokens", "outcome").collect()


def language(judgments: pl.LazyFrame, examples: pl.LazyFrame, *, seed: int) -> Language | None:
    """Length and diversity of the judgments of an iteration; None where none is kept.

    Args:
        judgments: completion_tokens, finish_reason.
        examples: judgment_id, completion, drop_reason.
        seed: of the sample of `LANGUAGE_SAMPLE` kept judgments.
    """
    length = pl.col("completion_tokens")
    tokens = (
        judgments.select(
            median=length.median(),
            p90=length.quantile(0.9, "nearest"),
            longest=length.max(),
            truncated=(pl.col("finish_reason") == "length").sum(),
        )
        .collect()
        .row(0, named=True)
    )
    drawn = (
        examples.filter(_KEPT).select("judgment_id").bottom_k(LANGUAGE_SAMPLE, by=draw("judgment_id", seed, "report"))
    )
    texts = examples.join(drawn, on="judgment_id", how="semi").select("completion").collect()["completion"].to_list()
    if not texts:
        return None
    words = [_WORD.findall(text.lower()) for text in texts]
    repeats = Counter(" ".join(text.lower().split()) for text in texts)
    return Language(
        tokens={name: int(tokens[name] or 0) for name in ("median", "p90", "longest")},
        truncated=tokens["truncated"] or 0,
        sample=len(texts),
        distinct_1=_distinct([(word,) for text in words for word in text]),
        distinct_2=_distinct([two for text in words for two in pairwise(text)]),
        repeated=sum(count for count in repeats.values() if count > 1) / len(texts),
    )


def _distinct(grams: list[tuple[str, ...]]) -> float:
    return len(set(grams)) / len(grams) if grams else 0.0


def _counted(counts: pl.LazyFrame) -> pl.DataFrame:
    """Of a reason and a count: the most frequent first, ties by name."""
    return counts.sort(["len", "drop_reason"], descending=[True, False]).collect()


def read_iterations(layout: Layout, recipe: Recipe) -> list[Iteration]:
    """Every iteration of which at least the selected instructions or the pairs exist.

    Raises:
        UserError: a table is damaged.
    """
    keys = [iteration_key(number) for number in range(1, recipe.iterations + 1)]
    return [read_iteration(layout, recipe, key) for key in keys if begun(layout, key)]


def begun(layout: Layout, key: str) -> bool:
    """Whether an iteration has a table."""
    return any(layout.table(name, key).is_file() for name in ("instructions", "pairs"))


def read_iteration(layout: Layout, recipe: Recipe, key: str) -> Iteration:
    """One iteration up to its last table; a later stage that has none yet is left out.

    Raises:
        UserError: a table is damaged.
    """
    instructions, pairs, judgments, examples = (
        scan(layout.table(name, key)) for name in ("instructions", "pairs", "judgments", "filtered_set")
    )
    folder = find_current_checkpoint(layout.checkpoints(key))
    manifest = None if folder is None else read_manifest(folder)
    iteration = Iteration(key, [], [], manifest=manifest, checkpoint=folder and str(folder))
    try:
        return _with_figures(iteration, recipe, instructions, pairs, judgments, examples)
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"A table of {key} in {layout.folder} cannot be read ({' '.join(str(error).split())[:120]}): materialize "
            f"{key} again."
        ) from None


def scan(path: Path) -> pl.LazyFrame | None:
    """A table without reading its rows; None if it does not exist."""
    return pl.scan_parquet(path, glob=False) if path.is_file() else None


def _with_figures(
    iteration: Iteration,
    recipe: Recipe,
    instructions: pl.LazyFrame | None,
    pairs: pl.LazyFrame | None,
    judgments: pl.LazyFrame | None,
    examples: pl.LazyFrame | None,
) -> Iteration:
    shown = {"funnel": iteration.funnel, "judged": iteration.judged}
    if instructions is not None:
        shown["funnel"] = table_steps("in the pool", "selected", instructions)
    if pairs is not None:
        shown["funnel"] = shown["funnel"] + table_steps("pairs written", "valid pairs", pairs)
    if pairs is not None and judgments is not None:
        shown["funnel"].append(right_step("with a right judgment", shown["funnel"][-1].rows, judgments))
        shown["passes"] = _passes(recipe, judgments)
        shown["sides"] = position_sides(judgments)
        if "elicited" in judgments.collect_schema().names():
            shown["elicited"] = judgments.select(pl.col("elicited").mean()).collect().item()
        shown["lengths"] = length_bins(judgments)
        shown["judge_digest"] = judgments.select(pl.col("judge").first()).collect().item()
    if judgments is not None and examples is not None:
        shown["funnel"].append(example_step("examples", judgments, examples))
        shown["judged"] = table_steps("judgments sampled", "kept", examples)
        shown["labels"] = label_counts(examples)
        shown["language"] = language(judgments, examples, seed=recipe.seed)
        if iteration.manifest is not None:
            shown["funnel"].append(_trained(iteration.manifest))
    return Iteration(**vars(iteration) | shown)


def _passes(recipe: Recipe, judgments: pl.LazyFrame) -> pl.DataFrame:
    if recipe.stops_when_right:
        return first_right(judgments, n=recipe.judgments.n)
    return pass_rates(judgments, request="rated" if recipe.judgments.form == "single" else "chosen_position")


def _trained(manifest: Manifest) -> Step:
    metrics = manifest.metrics
    lost = {"held_out": metrics.validation_examples, "beyond_max_tokens": metrics.too_long}
    return Step("trained on", metrics.examples, {reason: rows for reason, rows in lost.items() if rows})
