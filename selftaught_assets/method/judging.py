"""What the judge is asked, the table of what it answered, and when a pair needs no further judgment.

What the judge is asked, and the table of what it answered.

Sequential rejection sampling: no judgment is sampled of a pair that has a right one.

The paper samples N judgments of each pair and keeps a random right one (section 3, "Judgment Annotation"). Judgments
of one pair are independent draws from one distribution, so the first right one among them is distributed as a random
right one of N is: as the distribution given that it is right. And the same pairs have one, since it is looked for
among the same N. The argument is in docs/method.md.

Waves: of each pair that is not settled, equally many judgments are sampled at once. That is one of each while there
are many pairs, and more the fewer are left, so that the tail of hard pairs does not leave the engine idle. What a
wave gives beyond the first right judgment is left out: the table depends on the random streams alone, never on the
size of the waves.
"""

from collections.abc import Callable
from typing import Literal

import polars as pl

from selftaught_assets.method.identity import row_ids, share
from selftaught_assets.method.verdicts import VerdictFormat, parse_verdicts

POSITIONS = ("A", "B")

ORDERS = ("AB", "BA")
"""Order of a benchmark pair before the judge: as the benchmark gives it, and swapped."""

NO_ORDER = "none"
"""Instead of an order where the responses were not shown together, but rated one by one (`single_evaluation`)."""

UNASKED_REASONS = ("prompt_too_long", "failed")
"""Drop reasons of judgments: the prompt does not fit into the judge's context, or the engine gave up on it for good."""

JUDGMENT_COLUMNS = (
    "judgment_id",
    "pair_id",
    "sample_index",
    "chosen_position",
    "judge",
    "judgment",
    "verdict",
    "is_correct",
    "finish_reason",
    "completion_tokens",
    "drop_reason",
)


def judging_requests(pairs: pl.DataFrame, *, positions: Literal["random", "both"], seed: int) -> pl.DataFrame:
    """What to ask the judge about the kept pairs (paper section 3, "Judgment Annotation").

    A judge that favours one position would otherwise be taught to: so the chosen response stands in a random position,
    drawn once for each pair, or in both in turn.

    Args:
        pairs: the table of pairs.
        seed: of the random positions; unused where `positions` is "both".

    Returns:
        request_id (`<pair_id>-<position>`), pair_id, chosen_position, instruction, response_a, response_b, reference
        (null); kept pairs in their order, A before B.
    """
    kept = pairs.filter(pl.col("drop_reason").is_null())
    if positions == "random":
        drawn = pl.when(share("pair_id", seed, "position") < 0.5).then(pl.lit("A")).otherwise(pl.lit("B"))
        placed = kept.with_columns(drawn.alias("chosen_position"))
    else:
        placed = kept.with_columns(pl.lit(list(POSITIONS)).alias("chosen_position")).explode("chosen_position")
    chosen_first = pl.col("chosen_position") == "A"
    return placed.select(
        pl.concat_str("pair_id", "chosen_position", separator="-").alias("request_id"),
        "pair_id",
        "chosen_position",
        "instruction",
        pl.when(chosen_first).then("chosen").otherwise("rejected").alias("response_a"),
        pl.when(chosen_first).then("rejected").otherwise("chosen").alias("response_b"),
        pl.lit(None, dtype=pl.String).alias("reference"),
    )


def judgments_table(
    requests: pl.DataFrame,
    completions: pl.DataFrame,
    *,
    judge: str,
    form: VerdictFormat = "brackets",
    ties: bool = False,
) -> pl.DataFrame:
    """The table of judgments (paper section 3, "Judgment Annotation"): one row for each completion, in their order.

    An invalid verdict is null in `verdict` and never correct. A tie is not correct either: one response of a
    constructed pair is the better one. A row is dropped only where the judge could not be
    asked at all (`unasked_reason`); whether a judgment is good enough to train on is decided later (`rejection`).

    Args:
        requests: from `judging_requests`.
        completions: request_id, sample_index, text, finish_reason, completion_tokens.
        judge: digest of the judge's weights.
        form: in which the prompt asks for the verdict.
        ties: whether it offers a tie.

    Returns:
        `JUDGMENT_COLUMNS`.

    Raises:
        ValueError: a completion answers no request.
    """
    placed = completions.join(
        requests.select("request_id", "pair_id", "chosen_position"), on="request_id", how="left", maintain_order="left"
    )
    unasked = placed.filter(pl.col("pair_id").is_null())
    if unasked.height:
        raise ValueError(f"{unasked.height} completions answer no request, the first one {unasked['request_id'][0]!r}.")
    table = placed.with_columns(
        parse_verdicts(placed["text"], form, ties=ties), pl.lit(judge).alias("judge"), pl.col("text").alias("judgment")
    )
    identity = (table[name] for name in ("judge", "pair_id", "chosen_position", "sample_index", "judgment"))
    return table.with_columns(
        pl.Series("judgment_id", row_ids("judgment", *identity), dtype=pl.String),
        pl.col("verdict").eq(pl.col("chosen_position")).fill_null(False).alias("is_correct"),
        unasked_reason().alias("drop_reason"),
    ).select(JUDGMENT_COLUMNS)


def judgment_quality(judgments: pl.DataFrame, *, firsts_only: bool) -> dict[str, float]:
    """What the judgments of one judge look like, as numbers that can be followed over the iterations.

    Rows without an answer (`UNASKED_REASONS`) are no judgments: they say nothing of the judge.

    Args:
        judgments: the table.
        firsts_only: take shares over the first judgment of each pair. Needed where a right one ends the search: over
            all judgments they would then be too low.

    Returns:
        Shares of judgments: right, invalid, cut off, and for A among those for a side; `position_bias`, by how much
        the verdict A is more frequent, among verdicts for a side, than it ought to be; and `solved_share`, of the pairs
        for which at least one judgment is right. 0.0 where there is nothing to count.
    """
    says_a, is_a = ((pl.col(name) == "A").cast(pl.Float64) for name in ("verdict", "chosen_position"))
    says_a = pl.when(pl.col("verdict") != "TIE").then(says_a)
    answered = judgments.filter(pl.col("drop_reason").is_null())
    counted = answered.filter(pl.col("sample_index") == 0) if firsts_only else answered
    shares = counted.select(
        correct_share=pl.col("is_correct").mean(),
        invalid_share=pl.col("verdict").is_null().mean(),
        label_a_share=says_a.mean(),
        position_bias=(says_a - is_a).mean(),
        truncated_share=(pl.col("finish_reason") == "length").mean(),
    ).row(0, named=True)
    solved = answered.group_by("pair_id").agg(pl.col("is_correct").any())["is_correct"].mean()
    return {name: value or 0.0 for name, value in {**shares, "solved_share": solved}.items()}


def unasked_reason() -> pl.Expr:
    """Why a completion is no answer: one of `UNASKED_REASONS`, which are finish reasons; null for an answer."""
    return pl.when(pl.col("finish_reason").is_in(UNASKED_REASONS)).then("finish_reason")


def benchmark_requests(items: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about labelled pairs: each in both orders, since a judge may favour a position.

    Args:
        items: benchmark, subset, item_id, group_id, instruction_id, variant, instruction, response_a, response_b,
            reference, label (A, B or TIE).

    Returns:
        request_id (`<benchmark>/<item_id>/<order>`), benchmark, subset, item_id, group_id, instruction_id, variant,
        order (AB as given, BA swapped), instruction, response_a, response_b, reference and label; responses and label
        as the judge sees them: in both orders of an item together, the winner stands once first (label A) and once
        last. A tie is one in both orders.
    """
    asked = items.with_columns(pl.lit(list(ORDERS)).alias("order")).explode("order")
    as_given = pl.col("order") == "AB"
    swapped_label = pl.col("label").replace_strict({"A": "B", "B": "A", "TIE": "TIE"}, return_dtype=pl.String)
    return asked.select(
        pl.concat_str("benchmark", "item_id", "order", separator="/").alias("request_id"),
        "benchmark",
        "subset",
        "item_id",
        "group_id",
        "instruction_id",
        "variant",
        "order",
        "instruction",
        pl.when(as_given).then("response_a").otherwise("response_b").alias("response_a"),
        pl.when(as_given).then("response_b").otherwise("response_a").alias("response_b"),
        "reference",
        pl.when(as_given).then("label").otherwise(swapped_label).alias("label"),
    )


FILLED_SHARE = 0.25
"""The part of the engine that a wave fills at least. Measured with the demo's seed model on 1,632 pairs, N = 15, 1,024
rows: with a quarter 7 % more samples than with one of each, in 62 % fewer decoding steps; with all of it 39 % more, in
76 % fewer."""

SETTLES = pl.col("is_correct") & (pl.col("finish_reason") != "length")
"""Whether a judgment ends the search: right, and not cut off by the token limit, so that it can be trained on."""

_REQUEST = ["pair_id", "chosen_position"]

Ask = Callable[[pl.DataFrame, int, int], pl.DataFrame]
"""From requests, the first sample index and the one after the last to their table of judgments."""


def sample_until_right(requests: pl.DataFrame, ask: Ask, *, n: int, capacity: int) -> pl.DataFrame:
    """The judgments of each request up to and including the first that settles it, or all n if none does.

    Exactly the rows of the table of all n judgments that come no later than the first settling one, in their order.

    Args:
        requests: from `judging.judging_requests`.
        ask: samples judgments of some of the requests; returns `judging.JUDGMENT_COLUMNS`.
        n: judgments of each request, at most.
        capacity: samples that the engine works on together.
    """
    waiting, sampled, waves = requests, 0, []
    while sampled < n and (waiting.height or not waves):
        end = sampled + wave_size(waiting.height, sampled=sampled, n=n, capacity=capacity)
        waves.append(ask(waiting, sampled, end))
        waiting = waiting.join(waves[-1].filter(SETTLES), on=_REQUEST, how="anti", maintain_order="left")
        sampled = end
    order = requests.select(*_REQUEST).with_row_index("request_order")
    table = pl.concat(waves).join(order, on=_REQUEST, how="left").sort("request_order", "sample_index")
    return until_settled(table.drop("request_order"))


def wave_size(waiting: int, *, sampled: int, n: int, capacity: int) -> int:
    """How many judgments of each waiting request are sampled next: as many as fill a quarter of the engine, at least 1.

    Args:
        waiting: requests that are not settled.
        sampled: judgments that each of them has.
        n: that each may have.
        capacity: samples that the engine works on together.
    """
    return min(n - sampled, max(int(FILLED_SHARE * capacity) // max(waiting, 1), 1))


def until_settled(judgments: pl.DataFrame) -> pl.DataFrame:
    """Without the judgments that come after the first settling one of their request.

    Args:
        judgments: pair_id, chosen_position, sample_index, is_correct, finish_reason and any further columns.
    """
    first = pl.col("sample_index").filter(SETTLES).min().over(_REQUEST)
    return judgments.filter((pl.col("sample_index") <= first).fill_null(True))
