"""Records in the exact published schema, with texts of our own; verdicts with known scores."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.benchmarks import benchmark_rows, published_scores
from selftaught_assets.method.benchmarks.human_votes import majority
from selftaught_assets.method.scoring.accuracy import combined_verdicts
from selftaught_assets_tests.method.benchmarks.records import MIRRORED, MT_BENCH, answers, labels, lines_of, scores_of
from selftaught_assets_tests.method.tables import verdicts

HELPSTEER2 = {
    "split": "val",
    "prompt": "Name a prime.",
    "response_1": "7",
    "response_2": "8",
    "preference_strength": -2,
    "preference_statement": "Response 1 is better than Response 2.",
    "preference_elaboration": "8 is even.",
    "three_most_similar_preferences": [],
    "all_preferences_unprocessed": [],
}

PANDALM = {
    "idx": 0,
    "motivation_app": "Gmail",
    "cmp_key": "bloom-7b_llama-7b",
    "instruction": "Name a prime.",
    "input": "",
    "response1": "7",
    "response2": "8",
    "annotator1": 1,
    "annotator2": 1,
    "annotator3": 2,
}

votes_of_people = st.lists(labels, min_size=1, max_size=9)


def mt_bench(*records):
    return benchmark_rows("mt_bench", records, "mt_bench", ties="count")


@given(votes_of_people)
def test_a_label_wins_only_with_more_votes_than_each_other(votes):
    most = majority(votes)
    others = {"A", "B", "TIE"} - {most}
    if most != "TIE":
        assert all(votes.count(most) > votes.count(other) for other in others)


@given(votes_of_people, st.randoms(use_true_random=False))
def test_the_order_of_people_does_not_matter(votes, random):
    shuffled = random.sample(votes, len(votes))
    assert majority(shuffled) == majority(votes)


def test_votes_on_one_pair_become_one_item():
    table = mt_bench(MT_BENCH, MT_BENCH | {"winner": "model_a", "judge": "expert_1"}, MT_BENCH | {"judge": "author_0"})
    assert table.select("item_id", "response_a", "response_b", "label").rows() == [
        ("81/alpaca-13b/gpt-4/turn_1", "8", "7", "B")
    ]


def test_votes_with_the_models_the_other_way_round_count_for_the_same_model():
    table = mt_bench(MT_BENCH, MIRRORED | {"winner": "model_a"}, MT_BENCH | {"winner": "tie"})
    assert table.select("response_a", "response_b", "label").rows() == [("8", "7", "B")]


@pytest.mark.parametrize("winners", [("tie",), ("model_a", "model_b"), ("tie (inconsistent)",)])
def test_people_without_a_majority_are_a_tie(winners):
    assert mt_bench(*[MT_BENCH | {"winner": winner} for winner in winners])["label"].to_list() == ["TIE"]


def test_both_turns_are_laid_out_as_text():
    table = mt_bench(MT_BENCH, MT_BENCH | {"turn": 2})
    assert table.select("subset", "instruction", "response_a").rows() == [
        ("turn_1", "Name a prime.", "8"),
        ("turn_2", "Turn 1:\nName a prime.\n\nTurn 2:\nA larger one.", "Turn 1:\n8\n\nTurn 2:\n10"),
    ]


def test_both_turns_of_a_question_are_one_cluster():
    assert mt_bench(MT_BENCH, MT_BENCH | {"turn": 2})["instruction_id"].n_unique() == 1


@pytest.mark.parametrize("winner", [None, "gpt-4", ""])
def test_a_vote_that_cannot_be_read_is_counted_and_has_no_say(winner):
    table = mt_bench(MT_BENCH, MT_BENCH | {"winner": winner})
    assert table.select("label", "drop_reason").rows() == [("B", None), (None, "no_label")]
    assert table["item_id"].n_unique() == 2


@pytest.mark.parametrize("broken", [None, "7", [], [{"role": "user"}], [1, 2]])
def test_a_conversation_that_cannot_be_read_is_no_text(broken):
    assert mt_bench(MT_BENCH | {"conversation_b": broken})["drop_reason"].to_list() == ["not_text"]


def test_mt_bench_calls_an_inconsistent_verdict_a_tie():
    pairs = [("TIE", "A", "A"), ("A", "A", "A"), ("A", "A", "B"), ("B", "A", "B"), ("TIE", "A", "B")]
    assert scores_of("mt_bench", pairs) == pytest.approx(
        {"agreement_with_ties": 2 / 5, "agreement_without_ties": 1 / 2, "decided": 2 / 5}
    )


def test_agreement_of_a_judge_that_never_decides_is_left_out():
    assert "agreement_without_ties" not in scores_of("mt_bench", [("A", "A", "A")])


@pytest.mark.parametrize(
    ("strength", "label", "reason"),
    [
        (-3, "A", None),
        (-1, "A", None),
        (1, "B", None),
        (2.0, "B", None),
        (0, "TIE", "tie"),
        (None, None, "no_label"),
        (True, None, "no_label"),
        ("2", None, "no_label"),
        (float("nan"), None, "no_label"),
    ],
)
def test_helpsteer2_label_is_the_sign_of_the_strength(strength, label, reason):
    table = benchmark_rows("helpsteer2", [HELPSTEER2 | {"preference_strength": strength}], "helpsteer2")
    assert table.select("label", "drop_reason").row(0) == (label, reason)


def test_helpsteer2_records_of_training_are_set_aside():
    table = benchmark_rows("helpsteer2", [HELPSTEER2 | {"split": "train"}, HELPSTEER2], "helpsteer2")
    assert table["drop_reason"].to_list() == ["other_split", None]


def test_helpsteer2_conversation_is_laid_out_as_text():
    prompt = "Name a prime.\n<extra_id_1>Assistant\n7\n<extra_id_1>User\nA larger one."
    table = benchmark_rows("helpsteer2", [HELPSTEER2 | {"prompt": prompt}], "helpsteer2")
    assert table["instruction"].item() == "User:\nName a prime.\n\nAssistant:\n7\n\nUser:\nA larger one."


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ((1, 1, 2), "A"),
        ((2, 0, 2), "B"),
        ((0, 0, 1), "TIE"),
        ((0, 1, 2), "TIE"),
        ((None, 2, 2), "B"),
        ((None, 1, 2), None),
        ((True, 7, "x"), None),
    ],
)
def test_pandalm_label_is_the_majority_of_three_people(votes, label):
    record = PANDALM | {f"annotator{number}": vote for number, vote in enumerate(votes, start=1)}
    assert benchmark_rows("p", [record], "pandalm")["label"].item() == label


def test_pandalm_input_is_part_of_the_instruction():
    table = benchmark_rows("p", [PANDALM | {"instruction": "Shorten.", "input": "A long text."}], "pandalm")
    assert table["instruction"].item() == "Shorten.\n\nInput:\nA long text."


@pytest.mark.parametrize("field", ["instruction", "input", "response1"])
def test_pandalm_boolean_is_no_text(field):
    assert benchmark_rows("p", [PANDALM | {field: True}], "pandalm")["drop_reason"].to_list() == ["not_text"]


def test_dirty_rows_of_the_real_pandalm_are_counted(real_data: Path) -> None:
    """99 rows repeat an earlier one and 37 more do with the responses swapped; 34 of these 136 are unusable anyway."""
    original = json.loads((real_data / "benchmarks" / "pandalm_original.json").read_text(encoding="utf-8"))
    table = benchmark_rows("pandalm", original, "pandalm")
    dropped = {"tie": 77, "duplicate": 72, "empty_text": 54, "swapped_duplicate": 30, "not_text": 6}
    assert account(table, 999) == (999, 760, dropped)
    counted = benchmark_rows("pandalm", original, "pandalm", ties="count")
    assert account(counted, 999).kept == 760 + 77


def test_the_original_pandalm_and_its_normalised_form_agree(real_data: Path) -> None:
    folder = real_data / "benchmarks"
    original = json.loads((folder / "pandalm_original.json").read_text(encoding="utf-8"))
    mine = benchmark_rows("pandalm", original, "pandalm")
    theirs = benchmark_rows("pandalm", lines_of(folder / "pandalm.jsonl"))
    columns = ["subset", "instruction_id", "instruction", "response_a", "response_b", "label"]
    assert mine.select(columns).equals(theirs.select(columns))


@given(pairs=st.lists(st.tuples(labels, answers, answers), min_size=1, max_size=25))
def test_the_classes_of_pandalm_are_averaged_without_weights(pairs):
    table = verdicts(pairs)
    told = combined_verdicts(table).select("label", "verdict").rows()
    classes = {label for label, _ in told}
    precision, recall = [], []
    for name in classes:
        hits = sum(label == verdict == name for label, verdict in told)
        precision.append(hits / max(1, sum(verdict == name for _, verdict in told)))
        recall.append(hits / sum(label == name for label, _ in told))
    f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)]
    scores = {name: estimate.value for name, estimate in published_scores("pandalm", table).items()}
    means = [sum(shares) / len(classes) for shares in (precision, recall, f1)]
    assert [scores[name] for name in ("macro_precision", "macro_recall", "macro_f1")] == pytest.approx(means)
    assert scores["accuracy"] == pytest.approx(sum(label == verdict for label, verdict in told) / len(told))
