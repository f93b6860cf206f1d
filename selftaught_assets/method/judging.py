"""Asking the judge: what is shown and under which seed, the table of its judgments, and when enough were sampled.

A request is one thing that the judge is shown: a pair in one order, or a single response (`single`). Its name,
`request_id`, determines its random streams, so all judges that are asked it are compared on the same ones. How the
engine is called is not known here: engines/asking.py does it.

Two loops sample in batches, until a request or a question needs no more:

- `sample_until_right`, for training: no judgment is sampled of a pair that has a right one. The paper samples N
  judgments of each pair and keeps a random right one (section 3, "Judgment Annotation"). Judgments of one pair are
  independent draws from one distribution, so the first right one among them is distributed as a random right one of N
  is: as the distribution given that it is right. And the same pairs have one, since it is looked for among the same N.
  The argument is in docs/method.md.
- `sample_until_decided`, for use: no vote is cast on a question whose verdict is certain.

In both, sample index i of a request is the same text whenever it is sampled. So what comes out is a part of what
sampling everything would give, and depends on the random streams alone, never on the size of the batches.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import polars as pl
from polars import selectors as cs

from selftaught_assets.method.identity import derive_seed, row_ids, share
from selftaught_assets.method.prompts import Messages, PromptTemplates, judge_messages, score_messages
from selftaught_assets.method.verdicts import VerdictFormat, parse_verdicts
from selftaught_assets.method.votes import COUNTS, leader, next_batch, tally

POSITIONS = ("A", "B")

ORDERS = ("AB", "BA")
"""Order of a benchmark pair before the judge: as the benchmark gives it, and swapped."""

NO_ORDER = "none"
"""Instead of an order where the responses were not shown together, but rated one by one (`single`)."""

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


def request_messages(templates: PromptTemplates, request: Mapping[str, str | None], *, ties: bool) -> Messages:
    """What the judge is shown: a single response where the request has a `response`, else a pair.

    Args:
        templates: of the recipe.
        request: instruction, reference (an answer known to be good; may be null), and response, or response_a and
            response_b.
        ties: whether a tie may be given.

    Raises:
        ValueError: a template is missing, or cannot be rendered.
    """
    instruction, reference, response = request["instruction"], request["reference"], request.get("response")
    if response is not None:
        return score_messages(templates, instruction, response, reference)
    return judge_messages(templates, instruction, request["response_a"], request["response_b"], reference, ties=ties)


def request_seed(seed: int, request_id: str) -> int:
    """The seed of a request's random streams, out of that of the recipe; sample index i is stream i of it."""
    return derive_seed(seed, "judgment", request_id)


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
    constructed pair is the better one. A row is dropped only where the judge could not be asked at all
    (`unasked_reason`); whether a judgment is good enough to train on is decided later (`training_set`).

    Args:
        requests: from `judging_requests`.
        completions: request_id, sample_index, text, finish_reason, completion_tokens; elicited where verdicts are.
        judge: digest of the judge's weights.
        form: in which the prompt asks for the verdict.
        ties: whether it offers a tie.

    Returns:
        `JUDGMENT_COLUMNS`, and elicited where the completions have it.

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
    ).select(*JUDGMENT_COLUMNS, cs.by_name("elicited", require_all=False))


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
        for which at least one judgment is right. Where verdicts are elicited, also `elicited_share`. 0.0 where there is
        nothing to count.
    """
    says_a, is_a = ((pl.col(name) == "A").cast(pl.Float64) for name in ("verdict", "chosen_position"))
    says_a = pl.when(pl.col("verdict") != "TIE").then(says_a)
    answered = judgments.filter(pl.col("drop_reason").is_null())
    counted = answered.filter(pl.col("sample_index") == 0) if firsts_only else answered
    shares = counted.select(
        cs.by_name("elicited", require_all=False).mean().name.suffix("_share"),
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


def in_both_orders(pairs: pl.DataFrame) -> pl.DataFrame:
    """Every pair twice, since a judge may favour a position: as it is given (`order` AB), then swapped (BA).

    Args:
        pairs: response_a, response_b, and any further columns.

    Returns:
        The same columns, with the responses as the judge sees them, and `order`.
    """
    asked = pairs.with_columns(pl.lit(list(ORDERS)).alias("order")).explode("order")
    is_given = pl.col("order") == "AB"
    return asked.with_columns(
        pl.when(is_given).then("response_a").otherwise("response_b").alias("response_a"),
        pl.when(is_given).then("response_b").otherwise("response_a").alias("response_b"),
    )


def as_given(column: str) -> pl.Expr:
    """A verdict or label on the pair as the judge sees it in its `order`, as one on the pair as given; or back."""
    return pl.when(pl.col("order") == "BA").then(pl.col(column).replace({"A": "B", "B": "A"})).otherwise(column)


def benchmark_requests(items: pl.DataFrame) -> pl.DataFrame:
    """What to ask the judge about labelled pairs: each in both orders.

    Args:
        items: rows of the table `benchmarks`.

    Returns:
        The columns of `items`, responses and label as the judge sees them: in both orders of an item together, the
        winner stands once first (label A) and once last. And request_id (`<benchmark>/<item_id>/<order>`) and order.
    """
    return in_both_orders(items).with_columns(
        request_id=pl.concat_str("benchmark", "item_id", "order", separator="/"), label=as_given("label")
    )


FILLED_SHARE = 0.25
"""The part of the engine that a batch fills at least. Measured with the demo's seed model on 1,632 pairs, N = 15, 1,024
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
    waiting, sampled, batches = requests, 0, []
    while sampled < n and (waiting.height or not batches):
        end = sampled + batch_size(waiting.height, sampled=sampled, n=n, capacity=capacity)
        batches.append(ask(waiting, sampled, end))
        waiting = waiting.join(batches[-1].filter(SETTLES), on=_REQUEST, how="anti", maintain_order="left")
        sampled = end
    order = requests.select(*_REQUEST).with_row_index("request_order")
    table = pl.concat(batches).join(order, on=_REQUEST, how="left").sort("request_order", "sample_index")
    return until_settled(table.drop("request_order"))


def batch_size(waiting: int, *, sampled: int, n: int, capacity: int) -> int:
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


VOTE_SCHEMA = pl.Schema(
    {"question": pl.Int64, "order": pl.String, "sample_index": pl.Int64}
    | dict.fromkeys(("text", "finish_reason", "error", "verdict"), pl.String)
    | {"elicited": pl.Boolean}
)
"""Judgments in use. `verdict` names the responses as the judge does, and means nothing where it was shown only one."""

Vote = Callable[[pl.DataFrame], pl.DataFrame]
"""From requests with `first` and `end` to `VOTE_SCHEMA`: a row for each sample index from first to end - 1."""


def sample_until_decided(requests: pl.DataFrame, vote: Vote) -> pl.DataFrame:
    """The votes on each question until its verdict is certain: that of all n votes, whatever the others would be.

    Args:
        requests: as for `undecided`, and whatever `vote` needs.
        vote: casts votes.

    Returns:
        `VOTE_SCHEMA`, batch after batch.
    """
    votes = VOTE_SCHEMA.to_frame()
    while not (wanted := undecided(requests, votes)).is_empty():
        votes = pl.concat([votes, vote(wanted).select(VOTE_SCHEMA.names())])
    return votes


def undecided(requests: pl.DataFrame, votes: pl.DataFrame) -> pl.DataFrame:
    """The requests of the questions whose verdict is not certain yet, with the votes that are cast on each next.

    A question ends as well where a judgment is missing for good (`UNASKED_REASONS`).

    Args:
        requests: question (a number), order (AB, and BA where both are asked), n (votes in each order), stops_early
            (where it is false all n are cast), and any further columns.
        votes: `VOTE_SCHEMA` that were cast so far.

    Returns:
        Rows of `requests` with `first` and `end`, the sample indices of the next votes, in their order.
    """
    orders = pl.col("orders")
    batch = (next_batch(pl.col("to_come")) + orders - 1) // orders
    is_decided = pl.col("stops_early") & pl.col("verdict").is_not_null()
    waiting = count_questions(requests, votes).filter(pl.col("to_come") > 0, ~pl.col("is_broken"), ~is_decided)
    end = pl.when("stops_early").then(pl.col("cast") + batch).otherwise("n")
    indices = waiting.select("question", first="cast", end=end)
    return requests.join(indices, on="question", maintain_order="left")


def count_questions(requests: pl.DataFrame, votes: pl.DataFrame) -> pl.DataFrame:
    """The votes on each question, over its orders together, and its verdict as soon as that is certain.

    Args:
        requests: as for `undecided`.
        votes: `VOTE_SCHEMA` that were cast so far.

    Returns:
        question, n, stops_early, orders (their number), what `votes.tally` gives, in the names of the order AB, cast
        (votes in each order), to_come (votes), is_broken (a judgment is missing for good), and verdict (null while
        none is certain).
    """
    votes = votes.lazy()  # One query for all: a service waits for it before each batch.
    questions = (
        requests.lazy()
        .group_by("question", maintain_order=True)
        .agg(pl.first("n", "stops_early"), orders=pl.len().cast(pl.Int64))
    )
    ends = votes.group_by("question").agg(
        cast=pl.col("sample_index").max() + 1, is_broken=pl.col("finish_reason").is_in(UNASKED_REASONS).any()
    )
    for table in (tally(votes.with_columns(verdict=as_given("verdict")), by=["question"]), ends):
        questions = questions.join(table, on="question", how="left", maintain_order="left", validate="1:1")
    counted = questions.with_columns(
        pl.col(*COUNTS, "cast").fill_null(0), pl.col("is_broken").fill_null(False)
    ).with_columns(to_come=(pl.col("n") - pl.col("cast")) * pl.col("orders"))
    to_come = pl.col("to_come")
    pooled = pl.when(pl.col("orders") == len(ORDERS)).then(leader(to_come, both_orders=True))
    return counted.with_columns(verdict=pooled.otherwise(leader(to_come))).collect()
