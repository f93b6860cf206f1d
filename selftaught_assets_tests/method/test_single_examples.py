from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.identity import row_id
from selftaught_assets.method.prompts import PromptTemplates
from selftaught_assets.method.single import (
    DROP_REASONS,
    RATED,
    RATED_EXAMPLE_COLUMNS,
    filtered_set,
    predictable_from_rating,
    rating_distribution,
    rating_requests,
    ratings_table,
    select_two,
)
from selftaught_assets_tests.method.tables import kept, seeds
from selftaught_assets_tests.method.test_examples import PAIRS

TEMPLATES = PromptTemplates("", "", "", "", score="{{ instruction }}|{{ response }}")
SCHEMA = {
    "judgment_id": pl.String,
    "pair_id": pl.String,
    "rated": pl.String,
    "rating": pl.Int64,
    "finish_reason": pl.String,
}


def judgments(rows: list[tuple[int, str, int | None, str]]) -> pl.DataFrame:
    """A table of judgments from (pair number, rated response, rating, finish reason)."""
    values = [
        (row_id("judgment", number), row_id("pair", pair), rated, rating, finish)
        for number, (pair, rated, rating, finish) in enumerate(rows)
    ]
    return pl.DataFrame(values, schema=SCHEMA, orient="row")


tables = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(RATED),
        st.one_of(st.none(), st.integers(1, 10)),
        st.sampled_from(["stop", "stop", "stop", "length"]),
    ),
    max_size=40,
).map(judgments)
modes = st.sampled_from(["correct", "any"])


def right_combinations(table: pl.DataFrame, keep: str) -> dict[str, set[tuple[str, str]]]:
    """Of each pair the combinations (winner's judgment, loser's judgment) that may be drawn, the slow way."""
    usable = table.filter(pl.col("rating").is_not_null(), pl.col("finish_reason") != "length")
    found: dict[str, set[tuple[str, str]]] = {}
    for one in usable.filter(pl.col("rated") == "chosen").iter_rows(named=True):
        for other in usable.filter(pl.col("rated") == "rejected", pl.col("pair_id") == one["pair_id"]).iter_rows(
            named=True
        ):
            if keep == "any" or one["rating"] > other["rating"]:
                found.setdefault(one["pair_id"], set()).add((one["judgment_id"], other["judgment_id"]))
    return found


@given(table=tables, keep=modes, seed=seeds)
def test_every_pair_with_a_right_combination_keeps_exactly_one_of_them(table, keep, seed):
    drawn = kept(select_two(table, keep=keep, seed=seed))
    possible = right_combinations(table, keep)
    assert set(drawn["pair_id"]) == set(possible)
    for pair, combinations in possible.items():
        sides = drawn.filter(pl.col("pair_id") == pair).sort("rated")
        assert sides["rated"].to_list() == list(RATED)
        assert tuple(sides["judgment_id"]) in combinations


@given(table=tables, keep=modes, seed=seeds)
def test_no_row_is_lost_and_every_reason_is_a_documented_one(table, keep, seed):
    frame = select_two(table, keep=keep, seed=seed)
    account(frame, table.height)
    assert frame.drop("drop_reason").equals(table)
    assert set(frame["drop_reason"].drop_nulls()) <= set(DROP_REASONS)


@given(table=tables, keep=modes, seed=seeds, shuffle=st.randoms())
def test_the_draw_belongs_to_ids_and_not_to_the_order_of_rows(table, keep, seed, shuffle):
    rows = list(range(table.height))
    shuffle.shuffle(rows)
    expected = select_two(table, keep=keep, seed=seed).sort("judgment_id")
    assert select_two(table[rows], keep=keep, seed=seed).sort("judgment_id").equals(expected)


def test_each_unusable_judgment_says_why():
    table = judgments(
        [
            (1, "chosen", 8, "stop"),
            (1, "rejected", 5, "stop"),
            (1, "rejected", 8, "stop"),  # no winner's judgment is above it
            (1, "chosen", None, "stop"),
            (1, "rejected", 2, "length"),
            (2, "chosen", 5, "stop"),
            (2, "rejected", 5, "stop"),  # a tie is not the right order
        ]
    )
    assert select_two(table, keep="correct", seed=1)["drop_reason"].to_list() == [
        None,
        None,
        "wrong_rating",
        "invalid_rating",
        "truncated",
        "pair_not_ordered",
        "pair_not_ordered",
    ]


def test_the_control_keeps_pairs_in_the_wrong_order_too():
    table = judgments([(1, "chosen", 2, "stop"), (1, "rejected", 9, "stop")])
    assert select_two(table, keep="any", seed=1)["drop_reason"].to_list() == [None, None]


def test_every_right_combination_is_drawn_equally_often():
    sides = [("chosen", 9), ("chosen", 6), ("chosen", 3), ("rejected", 5), ("rejected", 2), ("rejected", 7)]
    table = judgments([(pair, rated, rating, "stop") for pair in range(1200) for rated, rating in sides])
    drawn = kept(select_two(table, keep="correct", seed=1)).sort("pair_id", "rated")
    ratings = drawn["rating"].to_list()
    counts = Counter(zip(ratings[::2], ratings[1::2], strict=True))
    assert set(counts) == {(9, 5), (9, 2), (9, 7), (6, 5), (6, 2), (3, 2)}
    statistic = sum((count - 200) ** 2 / 200 for count in counts.values())
    assert statistic < 20.5, "chi-square with 5 degrees of freedom, p = 0.001"


def build(ratings: list[int | None], **changes: object) -> pl.DataFrame:
    """The filtered set of judgments of all pairs: two samples of each response, the ratings taken in turn."""
    requests = rating_requests(PAIRS)
    asked = [(request, index) for request in requests["request_id"] for index in range(2)]
    answers = pl.DataFrame(
        {
            "request_id": [request for request, _ in asked],
            "sample_index": [index for _, index in asked],
            "text": [f"because [[{ratings[number % len(ratings)]}]]" for number in range(len(asked))],
            "finish_reason": "stop",
            "completion_tokens": 2,
        }
    )
    table = ratings_table(requests, answers, judge="digest")
    settings = {"keep": "correct", "validation_share": 0.3, "seed": 1} | changes
    return filtered_set(table, PAIRS, TEMPLATES, **settings)


def test_an_example_asks_about_the_response_that_was_rated_and_answers_with_the_judgment():
    examples = kept(build([9, 8, 3, 4, 10])).join(PAIRS.drop("drop_reason", "instruction_id"), on="pair_id")
    assert examples.height > 20
    for row in examples.iter_rows(named=True):
        assert row["messages"] == [{"role": "user", "content": f"{row['instruction']}|{row[row['label']]}"}]
        assert row["completion"] == f"because [[{row['rating']}]]"


@given(
    ratings=st.lists(st.one_of(st.none(), st.integers(1, 10)), min_size=1, max_size=11),
    keep=modes,
    seed=seeds,
)
def test_whatever_the_judge_says_pairs_stay_whole_winners_outscore_and_splits_share_no_instruction(ratings, keep, seed):
    frame = build(ratings, keep=keep, seed=seed)
    account(frame, 4 * PAIRS.height)
    assert tuple(frame.columns) == RATED_EXAMPLE_COLUMNS
    whole = (
        kept(frame)
        .group_by("pair_id")
        .agg(
            pl.col("label").sort(),
            pl.col("split").n_unique(),
            winner=pl.col("rating").filter(pl.col("label") == "chosen").first(),
            loser=pl.col("rating").filter(pl.col("label") == "rejected").first(),
        )
    )
    assert whole["label"].to_list() == [list(RATED)] * whole.height
    assert set(whole["split"]) <= {1}
    assert keep == "any" or (whole["winner"] > whole["loser"]).all()
    sides = {split: kept(frame).filter(pl.col("split") == split) for split in ("train", "validation")}
    assert not set(sides["train"]["instruction_id"]) & set(sides["validation"]["instruction_id"])


def test_texts_are_given_for_kept_rows_only():
    frame = build([9, 3, 5])
    is_kept = frame["drop_reason"].is_null()
    assert 0 < is_kept.sum() < frame.height
    for name in ("messages", "completion"):
        assert frame[name].is_not_null().equals(is_kept, check_names=False)


def test_the_distribution_says_how_often_each_rating_was_kept_for_which_side():
    distribution = rating_distribution(build([9, 9, 3, 3]))
    assert distribution.rows() == [(3, 0, PAIRS.height), (9, PAIRS.height, 0)]
    assert predictable_from_rating(distribution) == 1.0


def test_ratings_on_the_scale_of_their_own_pair_tell_little():
    shared = pl.DataFrame({"rating": [4, 5, 6], "chosen": [0, 10, 10], "rejected": [10, 10, 0]})
    assert predictable_from_rating(shared) == pytest.approx(0.75)
    assert predictable_from_rating(shared.clear()) == 0.5


def test_judgments_of_other_pairs_are_refused():
    requests = rating_requests(PAIRS)
    answers = requests.select(
        "request_id",
        sample_index=pl.lit(0),
        text=pl.lit("[[5]]"),
        finish_reason=pl.lit("stop"),
        completion_tokens=pl.lit(1),
    )
    table = ratings_table(requests, answers, judge="digest")
    with pytest.raises(ValueError, match="belong to no pair of this iteration"):
        filtered_set(table, PAIRS.head(5), TEMPLATES, keep="correct", validation_share=0.1, seed=1)
