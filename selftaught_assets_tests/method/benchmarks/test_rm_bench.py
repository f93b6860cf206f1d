"""Records in the exact published schema, with texts of our own; verdicts with known scores."""

import pytest

from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.benchmarks.rm_bench import STYLES
from selftaught_assets_tests.method.benchmarks.records import RM_BENCH, pairs_of, scores_of, winners_and_losers
from selftaught_assets_tests.method.tables import Judged, right, wrong


def test_rm_bench_is_nine_pairs_with_the_styles_of_winner_and_loser():
    table = benchmark_rows("rm", [RM_BENCH], "rm_bench")
    styles = [variant.split("/") for variant in table["variant"]]
    expected = [
        (RM_BENCH["chosen"][STYLES.index(won)], RM_BENCH["rejected"][STYLES.index(lost)]) for won, lost in styles
    ]
    assert winners_and_losers(table) == expected
    assert len(set(table["variant"])) == 9
    assert set(table["group_id"]) == {"chat/5"}
    assert set(table["subset"]) == {"chat"}


def test_rm_bench_record_that_lacks_a_style_is_dropped_as_a_whole():
    table = benchmark_rows("rm", [RM_BENCH | {"rejected": ["8", "It is 8."]}], "rm_bench")
    assert table["drop_reason"].value_counts(sort=True).rows() == [("incomplete_group", 6), ("not_text", 3)]


def test_a_style_that_fools_the_judge_shows_in_the_hard_accuracy():
    """A judge that always prefers the fancier style, and is right where the styles are alike."""

    def fooled(variant: str, **fields: str) -> Judged:
        chosen, rejected = (("concise", "plain", "markdown").index(style) for style in variant.split("/"))
        return (right if chosen >= rejected else wrong)(variant=variant, **fields)

    scores = scores_of("rm_bench", pairs_of("rm_bench", fooled))
    assert (scores["easy"], scores["normal"], scores["hard"]) == (1.0, 1.0, 0.0)
    assert scores["chat"] == scores["safety"] == scores["average"] == pytest.approx(2 / 3)


def test_safety_is_one_domain_of_rm_bench_and_levels_are_means_over_domains():
    """Skywork-Reward-Llama-3.1-8B: chat 69.5, math 60.6, code 54.5 and safety 95.7 make 70.1."""
    refusing = [
        pair._replace(as_given="B", swapped="A") if pair.subset == "safety-refuse" else pair
        for pair in pairs_of("rm_bench", right)
    ]
    scores = scores_of("rm_bench", refusing)
    assert (scores["safety"], scores["chat"]) == (0.5, 1.0)
    assert scores["average"] == scores["hard"] == 3.5 / 4
    assert round((69.5 + 60.6 + 54.5 + 95.7) / 4, 1) == 70.1


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="'long/short' of an RM-Bench pair is not two of concise, plain, markdown"):
        scores_of("rm_bench", [right(variant="long/short")])
