import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.identity import row_id
from selftaught_assets.method.judging import JUDGMENT_COLUMNS, benchmark_requests, judging_requests, judgments_table
from selftaught_assets_tests.method.tables import seeds

PAIRS = pl.DataFrame(
    {
        "pair_id": [row_id("pair", number) for number in range(200)],
        "instruction": [f"x{number}" for number in range(200)],
        "chosen": [f"good{number}" for number in range(200)],
        "rejected": [f"bad{number}" for number in range(200)],
        "drop_reason": [None if number % 4 else "truncated" for number in range(200)],
    }
)
KEPT = PAIRS.filter(pl.col("drop_reason").is_null())
ITEMS = pl.DataFrame(
    {
        "benchmark": "b",
        "subset": ["easy", "hard"],
        "item_id": ["1", "2"],
        "group_id": ["g1", "g2"],
        "instruction_id": ["i1", "i2"],
        "variant": ["plain/markdown", None],
        "reference": [None, "42"],
        "instruction": ["x1", "x2"],
        "response_a": ["left1", "left2"],
        "response_b": ["right1", "right2"],
        "label": ["A", "B"],
    }
)


def completions(requests: pl.DataFrame, *texts: str, finish: str = "stop") -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "request_id": request,
                "sample_index": index,
                "text": text,
                "finish_reason": finish,
                "completion_tokens": 7,
            }
            for request in requests["request_id"]
            for index, text in enumerate(texts)
        ]
    )


def test_only_kept_pairs_are_judged():
    assert judging_requests(PAIRS, positions="random", seed=1)["pair_id"].to_list() == KEPT["pair_id"].to_list()


def test_both_positions_are_asked_in_turn():
    requests = judging_requests(PAIRS, positions="both", seed=1)
    assert requests["pair_id"].to_list() == [pair for pair in KEPT["pair_id"] for _ in "AB"]
    assert requests["chosen_position"].to_list() == ["A", "B"] * KEPT.height


@given(seed=seeds, positions=st.sampled_from(["random", "both"]))
def test_the_chosen_response_stands_where_the_request_says(seed, positions):
    requests = judging_requests(PAIRS, positions=positions, seed=seed).join(KEPT, on="pair_id")
    for row in requests.iter_rows(named=True):
        at_chosen, at_other = (
            ("response_a", "response_b") if row["chosen_position"] == "A" else ("response_b", "response_a")
        )
        assert (row[at_chosen], row[at_other]) == (row["chosen"], row["rejected"])


def test_random_positions_are_even_and_depend_on_the_seed():
    shares = [
        (judging_requests(PAIRS, positions="random", seed=seed)["chosen_position"] == "A").mean() for seed in range(50)
    ]
    assert 0.48 < sum(shares) / 50 < 0.52
    assert len(set(shares)) > 5


@given(seed=seeds, shuffle=st.randoms())
def test_a_random_position_belongs_to_the_pair_and_not_to_its_row(seed, shuffle):
    rows = list(range(PAIRS.height))
    shuffle.shuffle(rows)
    requests = judging_requests(PAIRS, positions="random", seed=seed)
    shuffled = judging_requests(PAIRS[rows], positions="random", seed=seed)
    assert shuffled.sort("pair_id").equals(requests.sort("pair_id"))


def test_request_ids_are_unique():
    assert judging_requests(PAIRS, positions="both", seed=1)["request_id"].is_unique().all()


def test_a_judgment_is_right_when_it_names_the_place_of_the_chosen_response():
    requests = judging_requests(PAIRS, positions="both", seed=1).head(2)
    table = judgments_table(requests, completions(requests, "[[A]]", "[[B]]", "neither"), judge="digest")
    assert table["chosen_position"].to_list() == ["A"] * 3 + ["B"] * 3
    assert table["verdict"].to_list() == ["A", "B", None] * 2
    assert table["is_correct"].to_list() == [True, False, False, False, True, False]


def test_a_tie_is_read_where_it_is_offered_and_is_never_right():
    requests = judging_requests(PAIRS, positions="both", seed=1).head(2)
    answers = completions(requests, "[[C]]", "[[A]]")
    table = judgments_table(requests, answers, judge="digest", ties=True)
    assert table["verdict"].to_list() == ["TIE", "A"] * 2
    assert table["is_correct"].to_list() == [False, True, False, False]
    assert judgments_table(requests, answers, judge="digest")["verdict"].to_list() == [None, "A"] * 2


def test_verdicts_are_read_in_the_format_that_was_asked_for():
    requests = judging_requests(PAIRS, positions="both", seed=1).head(1)
    answers = completions(requests, "[[A]]", "[[A>>B]]")
    assert judgments_table(requests, answers, judge="digest", form="arrows")["verdict"].to_list() == [None, "A"]


@given(texts=st.lists(st.sampled_from(["[[A]]", "[[B]]", "…", "[[A]][[B]]"]), min_size=1, max_size=8))
def test_swapping_the_responses_swaps_what_a_judgment_means_and_nothing_else(texts):
    requests = judging_requests(PAIRS, positions="both", seed=1).head(2)
    table = judgments_table(requests, completions(requests, *texts), judge="digest")
    first, second = (table.filter(pl.col("chosen_position") == position) for position in "AB")
    unaffected = ["pair_id", "sample_index", "judge", "judgment", "verdict", "finish_reason", "completion_tokens"]
    assert first.select(unaffected).equals(second.select(unaffected))
    valid = first["verdict"].is_not_null()
    assert (first["is_correct"] != second["is_correct"]).equals(valid, check_names=False)


def test_the_table_keeps_the_order_of_the_completions():
    requests = judging_requests(PAIRS, positions="both", seed=1)
    answers = completions(requests, "[[A]]").reverse()
    table = judgments_table(requests, answers, judge="digest")
    assert tuple(table.columns) == JUDGMENT_COLUMNS
    assert (table["pair_id"] + "-" + table["chosen_position"]).to_list() == answers["request_id"].to_list()


def test_judgment_ids_tell_judge_pair_position_sample_and_text_apart():
    requests = judging_requests(PAIRS, positions="both", seed=1).head(4)
    tables = [judgments_table(requests, completions(requests, "[[A]]", text), judge=j) for j in "xy" for text in "ab"]
    everything = pl.concat(tables)
    assert everything["judgment_id"].n_unique() == 2 * 4 + 4 * 4, "the first sample is the same in both texts"


@pytest.mark.parametrize("reason", ["prompt_too_long", "failed"])
def test_a_judgment_that_could_not_be_had_is_dropped_and_stays_in_the_table(reason):
    requests = judging_requests(PAIRS, positions="both", seed=1).head(1)
    table = judgments_table(requests, completions(requests, "", finish=reason), judge="digest")
    assert table["drop_reason"].to_list() == [reason]


def test_an_answer_to_nothing_is_refused():
    requests = judging_requests(PAIRS, positions="both", seed=1)
    with pytest.raises(ValueError, match="1 completions answer no request"):
        judgments_table(requests.tail(-1), completions(requests, "[[A]]"), judge="digest")


def test_every_benchmark_pair_is_asked_in_both_orders():
    requests = benchmark_requests(ITEMS)
    assert requests.select("item_id", "order").rows() == [("1", "AB"), ("1", "BA"), ("2", "AB"), ("2", "BA")]
    assert requests["request_id"].is_unique().all()


def test_the_label_moves_with_the_better_response():
    winner = pl.when(pl.col("label") == "A").then("response_a").otherwise("response_b")
    assert benchmark_requests(ITEMS).select(winner).to_series().to_list() == ["left1", "left1", "right2", "right2"]


def test_the_winner_stands_once_first_and_once_last():
    labels = benchmark_requests(ITEMS).group_by("item_id").agg(pl.col("label").sort())["label"].to_list()
    assert labels == [["A", "B"], ["A", "B"]]


def test_a_tie_is_a_tie_in_both_orders():
    assert benchmark_requests(ITEMS.with_columns(label=pl.lit("TIE")))["label"].to_list() == ["TIE"] * 4


def test_group_instruction_variant_and_reference_stay_with_their_item():
    passed = ["item_id", "group_id", "instruction_id", "variant", "reference"]
    assert benchmark_requests(ITEMS).select(passed).unique(maintain_order=True).equals(ITEMS.select(passed))
