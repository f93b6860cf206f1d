"""Known answers: results by subset from allenai/reward-bench-results, sections as leaderboard and papers print them."""

import numpy as np
import pytest

from selftaught_assets.method.benchmarks import benchmark_rows, published_scores
from selftaught_assets.method.benchmarks.reward_bench import CODE_WEIGHTS, PRIOR_SETS, SECTIONS, figures
from selftaught_assets_tests.method.benchmarks.records import winner
from selftaught_assets_tests.method.tables import Judged, right, verdicts, wrong

REWARDBENCH = {
    "prompt": "Name a prime.",
    "chosen": "7",
    "chosen_model": "human",
    "rejected": "8",
    "rejected_model": "unknown",
    "subset": "math-prm",
    "id": 30,
}

PROMPTS = {subset: weight for weights in SECTIONS.values() for subset, weight in weights.items()} | {"math-prm": 447}

RIGHT_OF_SELF_TAUGHT_LLAMA_3_70B = {
    "alpacaeval-easy": 98,
    "alpacaeval-hard": 91,
    "alpacaeval-length": 90,
    "donotanswer": 102,
    "hep-cpp": 151,
    "hep-go": 148,
    "hep-java": 155,
    "hep-js": 152,
    "hep-python": 150,
    "hep-rust": 148,
    "llmbar-adver-GPTInst": 85,
    "llmbar-adver-GPTOut": 35,
    "llmbar-adver-manual": 32,
    "llmbar-adver-neighbor": 108,
    "llmbar-natural": 94,
    "math-prm": 327,
    "mt-bench-easy": 28,
    "mt-bench-hard": 29,
    "mt-bench-med": 40,
    "refusals-dangerous": 95,
    "refusals-offensive": 97,
    "xstest-should-refuse": 148,
    "xstest-should-respond": 232,
}
"""The paper's own judge, eval-set/facebook/Self-taught-Llama-3-70B.json: right verdicts on each subset."""


@pytest.fixture(scope="module")
def self_taught() -> dict[str, float]:
    """Percent, of a table of verdicts with as many right in each subset as the paper's judge had."""
    rows = []
    for subset, prompts in PROMPTS.items():
        hits = RIGHT_OF_SELF_TAUGHT_LLAMA_3_70B[subset]
        rows += [right(subset=subset)] * hits + [wrong(subset=subset)] * (prompts - hits)
    assert len(rows) == 2985
    scores = published_scores("rewardbench", verdicts(rows))
    for estimate in scores.values():
        assert estimate.interval.low < estimate.value < estimate.interval.high
    return {name: round(100 * estimate.value, 1) for name, estimate in scores.items()}


def percent(accuracies: dict[str, float], name: str) -> float:
    totals = {
        f"{point} {subset}": np.array([share]) for subset, share in accuracies.items() for point in ("right", "half")
    }
    totals |= {f"n {subset}": np.array([1.0]) for subset in accuracies}
    return round(float(figures(accuracies)[name](totals)[0]), 1)


def of_sections(**sections: float) -> dict[str, float]:
    """Subset accuracies that give these sections, whatever the weights."""
    accuracies = {subset: sections[name] for name, weights in SECTIONS.items() for subset in weights}
    return accuracies | ({name: sections["prior_sets"] for name in PRIOR_SETS} if "prior_sets" in sections else {})


def test_rewardbench_keeps_subset_and_winner():
    table = benchmark_rows("rewardbench", [REWARDBENCH], "rewardbench")
    row = table.row(0, named=True)
    assert (row["item_id"], row["group_id"], row["subset"]) == ("math-prm/30", "math-prm/30", "math-prm")
    assert winner(table) == "7"


def test_rewardbench_ids_that_are_repeated_are_told_apart():
    others = [REWARDBENCH, REWARDBENCH | {"subset": "hep-go"}, REWARDBENCH | {"chosen": "11"}]
    table = benchmark_rows("rewardbench", others, "rewardbench")
    assert table["item_id"].to_list() == ["math-prm/30", "hep-go/30", "math-prm/30#2"]


@pytest.mark.parametrize("response", [True, None, ["7"]])
def test_rewardbench_response_that_is_no_text_is_dropped(response):
    table = benchmark_rows("rewardbench", [REWARDBENCH | {"rejected": response}], "rewardbench")
    assert table["drop_reason"].to_list() == ["not_text"]


def test_the_sections_of_the_papers_judge_are_those_of_the_leaderboard(self_taught):
    sections = {name: self_taught[name] for name in ("chat", "chat_hard", "safety", "reasoning")}
    assert sections == {"chat": 96.9, "chat_hard": 84.0, "safety": 91.1, "reasoning": 82.5}
    assert self_taught["overall_four_sections"] == 88.6


def test_with_the_weights_of_reward_benchs_code_the_same_verdicts_make_88_7_as_the_paper_prints(self_taught):
    assert self_taught["overall_four_sections_as_reward_bench"] == 88.7


def test_the_seed_of_the_paper_has_its_published_figure_by_the_one_formula_only():
    sections = of_sections(chat=97.6, chat_hard=58.9, safety=69.2, reasoning=78.5, prior_sets=70.4)
    assert percent(sections, "overall_prior_sets_half") == 75.4
    assert percent(sections, "overall_four_sections") == pytest.approx(76.05, abs=0.051)


@pytest.mark.parametrize(
    ("sections", "overall", "four"),
    [
        ({"chat": 97.6, "chat_hard": 58.9, "safety": 69.2, "reasoning": 78.5, "prior_sets": 70.4}, 75.4, 76.0),
        ({"chat": 95.3, "chat_hard": 74.3, "safety": 87.2, "reasoning": 86.9, "prior_sets": 70.9}, 84.3, 85.9),
        ({"chat": 96.4, "chat_hard": 71.3, "safety": 92.7, "reasoning": 97.7, "prior_sets": 78.2}, 88.2, 89.5),
        ({"chat": 97.5, "chat_hard": 60.5, "safety": 83.9, "reasoning": 74.1, "prior_sets": 52.8}, 76.1, 79.0),
    ],
)
def test_published_overall_scores_of_may_2024_have_prior_sets_at_half_weight(sections, overall, four):
    """Meta-Llama-3-70B-Instruct (the paper's seed), gpt-4-0125-preview, Cohere May 2024, tulu-2-dpo-70b.

    The sections are printed with one digit, so the overall score may be a digit off.
    """
    assert percent(of_sections(**sections), "overall_prior_sets_half") == pytest.approx(overall, abs=0.11)
    assert percent(of_sections(**sections), "overall_four_sections") == pytest.approx(four, abs=0.05)


@pytest.mark.parametrize(
    ("sections", "overall"),
    [
        ({"chat": 94.7, "chat_hard": 60.3, "safety": 89.1, "reasoning": 78.7}, 80.7),
        ({"chat": 93.0, "chat_hard": 47.1, "safety": 83.5, "reasoning": 77.4}, 75.2),
    ],
)
def test_published_overall_scores_without_prior_sets_are_means_of_four_sections(sections, overall):
    """claude-3-opus-20240229 and prometheus-8x7b-v2.0 (printed as 75.3 from unrounded sections)."""
    accuracies = of_sections(**sections)
    assert percent(accuracies, "overall_four_sections") == pytest.approx(overall, abs=0.06)
    assert "overall_prior_sets_half" not in figures(accuracies)


@pytest.mark.parametrize(
    ("accuracies", "published"),
    [
        ((84.0, 97.0, 97.4, 93.6, 61.8), 88.2),
        ((93.0, 83.0, 80.5, 41.6, 90.4), 76.3),
        ((76.0, 91.0, 87.0, 16.8, 58.1), 66.1),
        ((18.0, 21.0, 66.2, 94.8, 37.5), 54.3),
    ],
)
def test_safety_of_table_6_of_the_first_paper_has_the_two_xstest_subsets_the_wrong_way_round(accuracies, published):
    """Starling-RM-34B, Qwen1.5-14B-Chat, Qwen1.5-0.5B-Chat, UltraRM-13b: arXiv 2403.13787, table 6."""
    by_subset = dict(zip(SECTIONS["safety"], accuracies, strict=True))
    code = SECTIONS["safety"] | CODE_WEIGHTS
    with_code_weights = sum(code[name] * share for name, share in by_subset.items()) / sum(code.values())
    assert round(with_code_weights, 1) == published
    assert abs(percent(by_subset, "safety") - published) > 0.4


def test_the_code_weights_change_nothing_but_xstest():
    assert CODE_WEIGHTS.keys() <= SECTIONS["safety"].keys()
    assert sum(CODE_WEIGHTS.values()) == sum(SECTIONS["safety"][name] for name in CODE_WEIGHTS)


def test_sections_have_the_prompts_of_the_data_set():
    sizes = {name: sum(PROMPTS[subset] for subset in weights) for name, weights in SECTIONS.items()}
    assert sizes == {"chat": 358, "chat_hard": 456, "safety": 740, "reasoning": 1431}
    assert SECTIONS["reasoning"]["math-prm"] == sum(SECTIONS["reasoning"].values()) / 2


def test_an_incomplete_section_has_no_score_and_there_is_no_overall():
    rows = [right(subset=subset) for subset in SECTIONS["chat"]] + [right(subset="donotanswer")]
    assert published_scores("rewardbench", verdicts(rows)).keys() == {"chat"}


def test_invalid_verdicts_are_half_right_only_as_reward_bench():
    rows = [Judged("A", None, None, subset=subset) for subset in PROMPTS]
    scores = published_scores("rewardbench", verdicts(rows))
    assert scores["overall_four_sections"].value == 0
    assert scores["overall_four_sections_as_reward_bench"].value == 0.5
