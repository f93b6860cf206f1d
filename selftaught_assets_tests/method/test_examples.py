import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.identity import row_id
from selftaught_assets.method.judging import judging_requests, judgments_table
from selftaught_assets.method.prompts import PromptTemplates
from selftaught_assets.method.training_set import EXAMPLE_COLUMNS, filtered_set, training_set_digest
from selftaught_assets_tests.method.tables import kept, seeds

TEMPLATES = PromptTemplates("", "", "", judge="{{ instruction }}|{{ response_a }}|{{ response_b }}")
PAIRS = pl.DataFrame(
    {
        "pair_id": [row_id("pair", number) for number in range(30)],
        "instruction_id": [row_id("instruction", number // 2) for number in range(30)],
        "instruction": [f"x{number}" for number in range(30)],
        "chosen": [f"good{number}" for number in range(30)],
        "rejected": [f"bad{number}" for number in range(30)],
        "drop_reason": pl.Series([None] * 30, dtype=pl.String),
    }
)


def sampled(answers: list[str]) -> pl.DataFrame:
    """Judgments of all pairs in both positions: three samples of each, the answers taken in turn."""
    requests = judging_requests(PAIRS, positions="both", seed=1)
    asked = [(request, index) for request in requests["request_id"] for index in range(3)]
    completions = pl.DataFrame(
        {
            "request_id": [request for request, _ in asked],
            "sample_index": [index for _, index in asked],
            "text": [f"because {answers[number % len(answers)]}" for number in range(len(asked))],
            "finish_reason": "stop",
            "completion_tokens": 2,
        }
    )
    return judgments_table(requests, completions, judge="digest", ties=True)


def build(judgments: pl.DataFrame, **changes: object) -> pl.DataFrame:
    return filtered_set(
        judgments, PAIRS, TEMPLATES, **{"keep": "correct", "validation_share": 0.3, "seed": 1} | changes
    )


JUDGMENTS = sampled(["[[A]]", "[[B]]", "?", "[[A]]", "[[A]]"])
answers = st.lists(st.sampled_from(["[[A]]", "[[B]]", "[[C]]", "?"]), min_size=1, max_size=11)


def test_an_example_asks_what_the_judge_was_asked_and_answers_with_its_judgment():
    facts = JUDGMENTS.select("judgment_id", "chosen_position", "judgment").join(
        kept(build(JUDGMENTS)), on="judgment_id"
    )
    assert facts.height > 20
    for row in facts.join(PAIRS.drop("drop_reason"), on="pair_id").iter_rows(named=True):
        first, second = (row["chosen"], row["rejected"]) if row["label"] == "A" else (row["rejected"], row["chosen"])
        assert row["chosen_position"] == row["label"]
        assert row["messages"] == [{"role": "user", "content": f"{row['instruction']}|{first}|{second}"}]
        assert row["completion"] == row["judgment"]


@settings(max_examples=15)
@given(answers=answers, keep=st.sampled_from(["correct", "any"]), seed=seeds)
def test_whatever_the_judge_says_rows_add_up_labels_balance_and_splits_share_no_instruction(answers, keep, seed):
    judgments = sampled(answers)
    frame = build(judgments, keep=keep, seed=seed)
    account(frame, judgments.height)
    assert tuple(frame.columns) == EXAMPLE_COLUMNS
    sides = {split: kept(frame).filter(pl.col("split") == split) for split in ("train", "validation")}
    for side in sides.values():
        assert (side["label"] == "A").sum() == (side["label"] == "B").sum()
    assert not set(sides["train"]["instruction_id"]) & set(sides["validation"]["instruction_id"])


def test_the_unfiltered_control_holds_wrong_labels_and_the_filtered_set_none():
    positions = JUDGMENTS.select("judgment_id", "chosen_position")
    filtered = kept(build(JUDGMENTS)).join(positions, on="judgment_id")
    control = kept(build(JUDGMENTS, keep="any")).join(positions, on="judgment_id")
    assert (filtered["label"] == filtered["chosen_position"]).all()
    assert not (control["label"] == control["chosen_position"]).all()


def test_texts_are_given_for_kept_rows_only():
    frame = build(JUDGMENTS)
    is_kept = frame["drop_reason"].is_null()
    assert frame["messages"].is_not_null().equals(is_kept, check_names=False)
    assert frame["completion"].is_not_null().equals(is_kept, check_names=False)


def test_digest_of_a_training_set_is_of_what_is_trained_on_and_of_nothing_else():
    examples = build(JUDGMENTS)
    digest = training_set_digest(examples)
    assert training_set_digest(kept(examples)) == digest
    assert training_set_digest(kept(examples).reverse()) != digest
    assert training_set_digest(kept(examples).with_columns(split=pl.lit("validation"))) != digest


def test_judgments_that_were_dropped_before_are_left_out():
    dropped = JUDGMENTS.with_columns(
        pl.when(pl.col("sample_index") == 0).then(pl.lit("prompt_too_long")).alias("drop_reason")
    )
    assert build(dropped).height == JUDGMENTS.filter(pl.col("sample_index") > 0).height


def test_the_split_is_the_same_in_every_iteration():
    other = sampled(["[[B]]"])
    sides = [build(judgments).select("instruction_id", "split").unique() for judgments in (JUDGMENTS, other)]
    assert sides[0].sort("instruction_id").equals(sides[1].sort("instruction_id"))


def test_a_judge_that_gave_no_valid_verdict_leaves_an_empty_set():
    frame = build(sampled(["?"]))
    assert kept(frame).height == 0
    assert frame["drop_reason"].unique().to_list() == ["invalid_verdict"]


def test_judgments_of_other_pairs_are_refused():
    with pytest.raises(ValueError, match="belong to no pair of this iteration"):
        filtered_set(JUDGMENTS, PAIRS.head(5), TEMPLATES, keep="correct", validation_share=0.1, seed=1)


@pytest.mark.parametrize("keep", ["correct", "any"])
def test_a_tie_is_no_example_and_says_why(keep):
    frame = build(sampled(["[[C]]"]), keep=keep)
    assert frame["drop_reason"].unique().to_list() == ["tie_verdict"]


def test_an_example_offers_a_tie_where_the_judge_was_offered_one():
    offering = TEMPLATES._replace(judge=TEMPLATES.judge + "{% if ties %} or a tie{% endif %}")
    arguments = {"keep": "correct", "validation_share": 0.3, "seed": 1}
    for ties in (False, True):
        examples = kept(filtered_set(JUDGMENTS, PAIRS, offering, **arguments, ties=ties))
        assert {row[0]["content"].endswith(" or a tie") for row in examples["messages"]} == {ties}
