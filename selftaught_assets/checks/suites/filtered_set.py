"""The suites of `filtered_set`: is there anything else to learn from the examples than to judge?

In the single form, where responses are rated one by one, the check of the balance has other rules under the same name.
"""

from functools import partial

import polars as pl

from selftaught_assets.checks.rules import (
    KEPT,
    Estimate,
    RowRule,
    Subject,
    Suite,
    above,
    between,
    count,
    estimated,
    exact_share,
    exactly,
    holds,
    in_set,
    not_null,
    only,
    share,
    unique,
)
from selftaught_assets.method.diagnostics import ROWS, area_deviation, area_under_curve, probe_label
from selftaught_assets.method.identity import draw
from selftaught_assets.method.instructions import distinct_share, earlier_likeness
from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.method.verdicts import HIGHEST, LOWEST
from selftaught_assets.recipe import Recipe

SAMPLE = 1_000
"""Judgments that `diversity` looks at: distinct-2 is comparable for equal numbers only."""

CONFIDENT = 1.96
"""Standard deviations of an interval of 95 %."""


def examples(subject: Subject) -> pl.DataFrame:
    return subject.tables["filtered_set"].with_columns(characters=pl.col("completion").str.len_chars())


def rated_examples(subject: Subject) -> pl.DataFrame:
    """Every row with what it must hold together with the other response of its pair."""
    winner, loser = (KEPT.holds & pl.col("label").eq_missing(label) for label in ("chosen", "rejected"))
    return subject.tables["filtered_set"].with_columns(
        complete=(winner.sum().over("pair_id") == 1) & (loser.sum().over("pair_id") == 1),
        winner_rating=pl.when(winner).then("rating"),
        loser_rating=pl.when(winner).then(pl.col("rating").filter(loser).max().over("pair_id")),
    )


def origins(as_shown: str, subject: Subject) -> pl.DataFrame:
    """Every example with what its judgment was shown, and whether it is right."""
    judgments = subject.tables["judgments"].unique("judgment_id", keep="first", maintain_order=True)
    origins = judgments.select("judgment_id", as_shown, right="is_correct")
    return subject.tables["filtered_set"].join(origins, on="judgment_id", how="left", maintain_order="left")


def sides(subject: Subject) -> pl.DataFrame:
    splits = pl.col("split").filter(KEPT.holds).n_unique()
    return subject.tables["filtered_set"].with_columns(
        splits_of_pair=splits.over("pair_id"), splits_of_instruction=splits.over("instruction_id")
    )


def longer(first: str, rows: pl.DataFrame) -> Estimate | None:
    is_first = rows.select(pl.col("label").eq_missing(pl.lit(first))).to_series()
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
    means = (
        rows.filter(KEPT.holds)
        .group_by(pl.col("label").fill_null("none"))
        .agg(pl.col("characters").mean())
        .sort("label")
    )
    return {"rows": rows.height} | {f"mean_characters/{label}": mean for label, mean in means.iter_rows()}


def _drawn(subject: Subject, seed: int, purpose: str, most: int) -> pl.DataFrame:
    """A sample of the kept examples, drawn by seed and id, in their order."""
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


OF = "kept examples"
IDS = ("example_id", "judgment_id", "pair_id")


def filtered_set_suites(recipe: Recipe) -> list[Suite]:
    balance = response_balance if recipe.judgments.form == "single" else label_balance
    makers = (
        balance,
        one_example_per_pair,
        splits_apart,
        smallest_size,
        length_by_label,
        diversity,
        label_not_leaked,
    )
    return [make(recipe) for make in makers]


def label_balance(recipe: Recipe) -> Suite:
    """Equally many examples say A and B, so that the next judge does not learn to prefer a position."""
    low, high = (round(0.5 + sign * recipe.filter.label_tolerance, 6) for sign in (-1, 1))
    return Suite(
        asset="filtered_set",
        name="label_balance",
        purpose="A judge trained on more of one label learns to prefer a position.",
        rows=examples,
        shown=(*IDS, "label", "split"),
        rules=(
            count("examples", OF, "the number of examples to train on", low=1, where=KEPT),
            RowRule(
                "label_unknown",
                OF,
                "have a label other than A and B",
                (not_null("label"), in_set("label", ["A", "B"])),
                KEPT,
            ),
            exact_share("label_a_share", OF, "the share of label A", "label", "A", low=low, high=high, where=KEPT),
        ),
    )


def response_balance(recipe: Recipe) -> Suite:
    """The check of the same name where responses are rated one by one: winners and losers, in equal numbers."""
    low, high = (round(0.5 + sign * recipe.filter.label_tolerance, 6) for sign in (-1, 1))
    order = RowRule(
        "winner_not_above",
        OF,
        "rate the winner of their pair no higher than its loser",
        (above("winner_rating", "loser_rating"),),
        KEPT,
    )
    return Suite(
        asset="filtered_set",
        name="label_balance",
        purpose="A judge trained on winners without their losers learns to rate everything alike.",
        rows=rated_examples,
        shown=(*IDS, "label", "rating", "split"),
        rules=(
            count("examples", OF, "the number of examples to train on", low=1, where=KEPT),
            RowRule(
                "rating_unknown",
                OF,
                "have no rating from 1 to 10",
                (not_null("rating"), between("rating", LOWEST, HIGHEST)),
                KEPT,
            ),
            holds("pair_incomplete", OF, "lack the other response of their pair", "complete", KEPT),
            *([order] if recipe.filter.keep == "correct" else []),
            exact_share("chosen_share", OF, "the share of winners", "label", "chosen", low=low, high=high, where=KEPT),
        ),
    )


def one_example_per_pair(recipe: Recipe) -> Suite:
    """No pair is trained on twice as shown, and no wrong judgment at all."""
    single = recipe.judgments.form == "single"
    as_shown = "rated" if single else "chosen_position"
    right = holds("judgment_wrong", OF, "have a wrong judgment", "right", KEPT)
    return Suite(
        asset="filtered_set",
        name="one_example_per_pair",
        purpose="An easy pair has many right judgments: training on all of them would drown out the hard pairs.",
        rows=partial(origins, as_shown),
        shown=(*IDS, as_shown, "label", "split"),
        upstream=("judgments",),
        rules=(
            RowRule(
                "pair_repeated",
                OF,
                f"are of a pair and `{as_shown}` that another one is of",
                (unique("pair_id", as_shown),),
                KEPT,
            ),
            *([right] if recipe.filter.keep == "correct" else []),
        ),
    )


def splits_apart(recipe: Recipe) -> Suite:
    """The validation split was not trained on."""
    return Suite(
        asset="filtered_set",
        name="splits_apart",
        purpose="A validation loss on training examples always falls.",
        rows=sides,
        shown=(*IDS, "instruction_id", "split"),
        rules=(
            RowRule("pair_in_both", OF, "are of a pair in both splits", (between("splits_of_pair", None, 1),), KEPT),
            RowRule(
                "instruction_in_both",
                OF,
                "are of an instruction in both splits",
                (between("splits_of_instruction", None, 1),),
                KEPT,
            ),
        ),
    )


def smallest_size(recipe: Recipe) -> Suite:
    """There is enough to train on."""
    return Suite(
        asset="filtered_set",
        name="smallest_size",
        purpose="A few examples are memorized, not learned from.",
        rows=examples,
        shown=IDS,
        rules=(
            count(
                "training_examples",
                "kept examples of the training split",
                "the number of examples in the training split",
                low=recipe.checks.min_train_examples,
                where=only(drop_reason=None, split="train"),
                severity="warning",
            ),
        ),
    )


def length_by_label(recipe: Recipe) -> Suite:
    """Judgments of one label are as long as those of the other."""
    low, high = (round(0.5 + sign * recipe.checks.length_tolerance, 6) for sign in (-1, 1))
    first, second = ("chosen", "rejected") if recipe.judgments.form == "single" else ("A", "B")
    return Suite(
        asset="filtered_set",
        name="length_by_label",
        purpose="If one label has longer judgments, a judge that writes long judgments leans towards it.",
        rows=examples,
        shown=(*IDS, "label", "characters"),
        rules=(
            estimated(
                "longer_first_label",
                OF,
                f"how often a judgment labelled {first} is longer than one labelled {second}",
                partial(longer, first),
                low=low,
                high=high,
                where=KEPT,
            ),
        ),
        numbers=mean_lengths,
    )


def diversity(recipe: Recipe) -> Suite:
    """Judgments differ from one another."""
    alike = recipe.checks.near_duplicate
    of = "kept judgments of the sample"
    return Suite(
        asset="filtered_set",
        name="diversity",
        purpose="Judgments with the same wording teach that wording; reasons that differ by pair teach judging.",
        rows=partial(sample, recipe),
        shown=(*IDS, "like_example_id", "completion"),
        rules=(
            estimated(
                "distinct_2",
                of,
                "the share of word pairs that differ (distinct-2)",
                distinct,
                low=recipe.checks.min_distinct,
            ),
            share(
                "repeated_share",
                of,
                f"the share that is like an earlier one (similarity {alike:g} or more)",
                "repeats",
                high=recipe.checks.max_repeated_share,
            ),
        ),
    )


def label_not_leaked(recipe: Recipe) -> Suite:
    """The label cannot be told without reading the pair.

    In a right judgment the label is the winner's position by construction, so the probe must not see that, nor the
    verdict. It sees what says nothing of quality: the lengths of the responses as shown; and the first word and the
    length of the judgment. Predictable from lengths: the longer response wins, or the shorter one, so counting
    characters is enough to be right. Predictable from the opening: the first word knows the verdict already, so the
    rest justifies it and is no reason for it ("B is better, because"). Both are learned before judging is.
    """
    most = recipe.checks.max_probe_accuracy
    of = "kept examples of the sample"
    return Suite(
        asset="filtered_set",
        name="label_not_leaked",
        purpose="If something reveals the label without the pair, the judge learns that instead of judging.",
        rows=partial(probed, recipe),
        shown=(*IDS, "label", "opening", "characters"),
        upstream=("judgments", "pairs"),
        rules=(
            estimated(
                "predictable_from_lengths",
                of,
                "how often a probe finds the label from the lengths of the responses",
                partial(told, ("length_first", "length_second", "length_ratio")),
                high=most,
            ),
            estimated(
                "predictable_from_opening",
                of,
                "how often a probe finds the label from the first word and the length of the judgment",
                partial(told, ("opening", "characters")),
                high=most,
            ),
        ),
    )
