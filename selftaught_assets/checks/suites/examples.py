"""What the suites of `filtered_set` look at: examples with what their rules name, and numbers with intervals.

Belongs here: rows and numbers. Not here: what is demanded of them (filtered_set.py).
"""

import polars as pl

from selftaught_assets.checks.rules import Estimate, Subject, exactly
from selftaught_assets.method.draws import draw
from selftaught_assets.method.intervals import wilson_interval
from selftaught_assets.method.probe import ROWS, area_deviation, area_under_curve, probe_label
from selftaught_assets.method.similarity import distinct_share, earlier_likeness
from selftaught_assets.recipe import Recipe

SAMPLE = 1_000
"""Judgments that `diversity` looks at: distinct-2 is comparable for equal numbers only."""

CONFIDENT = 1.96
"""Standard deviations of an interval of 95 %."""


def examples(subject: Subject) -> pl.DataFrame:
    kept = pl.col("drop_reason").is_null()
    return subject.tables["filtered_set"].with_columns(
        pl.col("label").fill_null("none"),
        kept=kept,
        trained_on=kept & (pl.col("split") == "train"),
        is_a=pl.col("label").eq_missing("A"),
        characters=pl.col("completion").str.len_chars(),
    )


def rated_examples(subject: Subject) -> pl.DataFrame:
    """Every row with what it must hold together with the other response of its pair."""
    rows = subject.tables["filtered_set"].with_columns(
        pl.col("rating").fill_null(0),  # No rule lets 0 pass.
        kept=pl.col("drop_reason").is_null(),
        is_chosen=pl.col("label").eq_missing("chosen"),
    )
    winner = pl.col("kept") & pl.col("is_chosen")
    loser = pl.col("kept") & pl.col("label").eq_missing("rejected")
    lowest = pl.col("rating").filter(winner).min().over("pair_id")
    highest = pl.col("rating").filter(loser).max().over("pair_id")
    return rows.with_columns(
        complete=(winner.sum().over("pair_id") == 1) & (loser.sum().over("pair_id") == 1),
        ordered=~pl.col("is_chosen") | (lowest > highest).fill_null(True),
    )


def origins(as_shown: str, subject: Subject) -> pl.DataFrame:
    """Every example with what its judgment was shown, and whether it is right."""
    judgments = subject.tables["judgments"].unique("judgment_id", keep="first", maintain_order=True)
    origins = judgments.select("judgment_id", as_shown, right="is_correct")
    rows = subject.tables["filtered_set"].join(origins, on="judgment_id", how="left", maintain_order="left")
    kept = pl.col("drop_reason").is_null()
    return rows.with_columns(
        pl.col("right").fill_null(False), kept=kept, is_first=kept.cum_sum().over("pair_id", as_shown) <= 1
    )


def sides(subject: Subject) -> pl.DataFrame:
    kept = pl.col("drop_reason").is_null()
    split = pl.col("split").filter(kept)
    return subject.tables["filtered_set"].with_columns(
        kept=kept,
        pair_apart=split.n_unique().over("pair_id") <= 1,
        instruction_apart=split.n_unique().over("instruction_id") <= 1,
    )


def longer(first: str, rows: pl.DataFrame) -> Estimate | None:
    is_first = rows["label"] == first
    area = area_under_curve(rows["characters"], is_first)
    if area is None:
        return None
    counts = int(is_first.sum()), int((~is_first).sum())
    few = min(counts)
    near = CONFIDENT * area_deviation(area, *counts)
    low, high = wilson_interval(
        round(area * few), few
    )  # Holds where the deviation is 0: of few, or of none that differ.
    return Estimate(area, min(low, area - near), max(high, area + near), rows.height)


def mean_lengths(rows: pl.DataFrame) -> dict[str, int | float]:
    means = rows.filter("kept").group_by("label").agg(pl.col("characters").mean()).sort("label")
    return {"rows": rows.height} | {f"mean_characters/{label}": mean for label, mean in means.iter_rows()}


def _drawn(subject: Subject, seed: int, purpose: str, most: int) -> pl.DataFrame:
    """At most so many of the kept examples, drawn by seed and id, in their order."""
    kept = subject.tables["filtered_set"].filter(pl.col("drop_reason").is_null())
    place = draw("example_id", seed, purpose).rank("ordinal")
    return kept.filter(place <= most) if kept.height > most else kept


def sample(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    sample = _drawn(subject, recipe.seed, "diversity", SAMPLE)
    earlier = earlier_likeness(sample["completion"], recipe.checks.near_duplicate)
    return sample.with_columns(repeats=earlier.is_not_null(), like_example_id=sample["example_id"].gather(earlier))


def distinct(rows: pl.DataFrame) -> Estimate | None:
    distinct = distinct_share(rows["completion"])
    return None if distinct is None else exactly(distinct, rows.height)


def probed(recipe: Recipe, subject: Subject) -> pl.DataFrame:
    """Examples with what the probes may see. In the single form one response is shown, so its length stands alone."""
    sample = _drawn(subject, recipe.seed, "probe", ROWS)
    single = recipe.judgments.form == "single"
    position = "rated" if single else "chosen_position"
    judgments = subject.tables["judgments"].unique("judgment_id", keep="first", maintain_order=True)
    pairs = subject.tables["pairs"].unique("pair_id", keep="first", maintain_order=True)
    lengths = pairs.select("pair_id", *(pl.col(name).str.len_chars().log1p() for name in ("chosen", "rejected")))
    rows = (
        sample.join(judgments.select("judgment_id", position), on="judgment_id", how="left", maintain_order="left")
        .join(lengths, on="pair_id", how="left", maintain_order="left")
        .with_columns(pl.col("chosen", "rejected").fill_null(0.0))
    )
    chosen_first = pl.col(position).is_in(["A", "chosen"])
    first, second = (
        pl.when(chosen_first).then(one).otherwise(other)
        for one, other in (("chosen", "rejected"), ("rejected", "chosen"))
    )
    return rows.with_columns(length_first=first, length_second=pl.lit(0.0) if single else second).with_columns(
        length_ratio=pl.col("length_first") - pl.col("length_second"),
        opening=pl.col("completion").str.extract(r"^\s*(\S+)").fill_null(""),
        characters=pl.col("completion").str.len_chars(),
    )


def told(inputs: tuple[str, ...], rows: pl.DataFrame) -> Estimate | None:
    probe = probe_label(
        rows.select("label", "pair_id", *inputs),
        label="label",
        group="pair_id",
        texts=tuple(name for name in inputs if name == "opening"),
    )
    return None if probe is None else Estimate(probe.right / probe.n, *wilson_interval(probe.right, probe.n), probe.n)
