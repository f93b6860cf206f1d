"""Records in the exact published schema, with texts of our own; verdicts with known scores."""

import pytest

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets_tests.method.benchmarks.records import BEST_OF_4, TIES, scores_of, winners_and_losers
from selftaught_assets_tests.method.tables import Judged, right, wrong


def test_best_of_4_is_three_pairs_in_one_group():
    table = benchmark_rows("rb2", [BEST_OF_4], "rewardbench2")
    assert winners_and_losers(table) == [("7", "8"), ("7", "9"), ("7", "10")]
    assert table["item_id"].to_list() == ["12/0-0", "12/0-1", "12/0-2"]
    assert set(table["group_id"]) == {"12"}


def test_ties_are_every_right_against_every_wrong_answer():
    table = benchmark_rows("rb2", [TIES], "rewardbench2")
    assert winners_and_losers(table) == [(right, wrong) for right in TIES["chosen"] for wrong in TIES["rejected"]]
    assert set(table["subset"]) == {"Ties"}
    assert set(table["group_id"]) == {"tied:3"}


@pytest.mark.parametrize("chosen", [None, [], [None], [True], 7])
def test_group_without_a_right_answer_that_is_text_is_dropped(chosen):
    table = benchmark_rows("rb2", [BEST_OF_4 | {"chosen": chosen}], "rewardbench2")
    assert table["drop_reason"].to_list() == ["not_text"] * 3


def test_other_formats_have_no_variant():
    assert benchmark_rows("rb2", [BEST_OF_4], "rewardbench2")["variant"].null_count() == 3


def test_a_prompt_of_four_is_right_only_if_the_winner_beats_all_three():
    pairs = [right(subset="Math", group="1", instruction="1")] * 2 + [
        Judged("A", "A", "A", subset="Math", group="1", instruction="1")
    ]
    assert scores_of("rewardbench2", pairs) == {"math": 0.5}, "all three with the winner first, not all with it last"


def test_where_the_winner_stands_in_the_table_does_not_matter_to_a_prompt_of_four():
    mixed = [right(label, subset="Math", group="1", instruction="1") for label in "ABA"]
    assert scores_of("rewardbench2", mixed) == {"math": 1.0}


def test_ties_are_scored_by_accuracy_on_reference_and_tied_prompts_alike():
    several = [right(subset="Ties", group=f"tied:{n}", instruction=f"t{n}") for n in range(3)]
    reference = [wrong(subset="Ties", group="ref:1", instruction="r1")]
    assert scores_of("rewardbench2", several + reference) == {"ties_accuracy": 0.5}


def test_the_overall_score_of_rewardbench_2_is_the_mean_of_its_subsets():
    """The model card of Llama-3.1-70B-Instruct-RM-RB2: 81.3, 41.9, 69.9, 88.4, 86.5 and 88.3 make 76.1."""
    shares = {"Factuality": 813, "Precise IF": 419, "Math": 699, "Safety": 884, "Focus": 865}
    pairs = []
    for name, share in shares.items():
        pairs += [right(subset=name)] * share + [wrong(subset=name)] * (1000 - share)
    for kind in ("ref", "tied"):
        pairs += [right(subset="Ties", group=f"{kind}:{n}") for n in range(883)]
        pairs += [wrong(subset="Ties", group=f"{kind}:{n}") for n in range(883, 1000)]
    scores = scores_of("rewardbench2", pairs)
    assert round(100 * scores["overall_ties_by_accuracy"], 1) == pytest.approx(76.05, abs=0.051)
    assert scores["overall_without_ties"] == pytest.approx(sum(shares.values()) / 5000)
