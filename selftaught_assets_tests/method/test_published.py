from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.benchmarks.formats import FormatName
from selftaught_assets.method.published import published_differences, published_scores
from selftaught_assets.method.scoring.accuracy import combined_verdicts
from selftaught_assets_tests.method.tables import Judged, right, turned, verdicts, wrong

answers = st.sampled_from(["A", "B", "TIE", None])
labels = st.sampled_from(["A", "B", "TIE"])
RM_BENCH = [
    f"{chosen}/{rejected}"
    for chosen in ("concise", "plain", "markdown")
    for rejected in ("concise", "plain", "markdown")
]


def values(form: FormatName, pairs: list[Judged | tuple]) -> dict[str, float]:
    return {name: estimate.value for name, estimate in published_scores(form, verdicts(pairs)).items()}


def pairs_of(form: FormatName, judged) -> list[Judged]:
    """A complete small benchmark of a format, each pair made by `judged(**fields)`."""
    if form == "rewardbench2":
        names = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
        four = [judged(subset=name, group=name, instruction=name) for name in names for _ in range(3)]
        ties = [
            judged(subset="Ties", group=group, instruction=group) for group in ("ref:1", "tied:1") for _ in range(3)
        ]
        return four + ties
    if form == "rm_bench":
        domains = ("chat", "math", "code", "safety-refuse", "safety-response")
        return [judged(subset=name, instruction=name, variant=variant) for name in domains for variant in RM_BENCH]
    if form == "llmbar":
        return [judged(subset=name) for name in ("llmbar-natural", "llmbar-adver-manual", "llmbar-adver-GPTOut")]
    return [judged() for _ in range(4)]


OTHERS = [form for form in get_args(FormatName) if form not in ("pairs", "chosen_rejected", "rewardbench")]


@pytest.mark.parametrize("form", OTHERS)
def test_a_judge_that_is_always_right_has_every_score_1_and_one_that_never_is_has_no_accuracy(form):
    best, worst = values(form, pairs_of(form, right)), values(form, pairs_of(form, wrong))
    assert best
    assert set(best.values()) == {1.0}
    neutral = ("positional_agreement", "decided")
    assert {score for name, score in worst.items() if name not in neutral} == {0.0}


@pytest.mark.parametrize("form", OTHERS)
def test_the_difference_of_two_judges_is_that_of_their_scores(form):
    before, after = verdicts(pairs_of(form, wrong)), verdicts(pairs_of(form, right))
    differences = published_differences(form, before, after)
    assert {name: estimate.value for name, estimate in differences.items()} == {
        name: values(form, pairs_of(form, right))[name] - score
        for name, score in values(form, pairs_of(form, wrong)).items()
    }


def test_plain_pairs_have_no_score_of_their_own():
    assert values("pairs", [right()]) == published_differences("pairs", verdicts([right()]), verdicts([right()])) == {}


def test_a_prompt_of_four_is_right_only_if_the_winner_beats_all_three():
    pairs = [right(subset="Math", group="1", instruction="1")] * 2 + [
        Judged("A", "A", "A", subset="Math", group="1", instruction="1")
    ]
    assert values("rewardbench2", pairs) == {"math": 0.5}, "all three with the winner first, not all with it last"


def test_where_the_winner_stands_in_the_table_does_not_matter_to_a_prompt_of_four():
    mixed = [right(label, subset="Math", group="1", instruction="1") for label in "ABA"]
    assert values("rewardbench2", mixed) == {"math": 1.0}


def test_ties_are_scored_by_accuracy_on_reference_and_tied_prompts_alike():
    several = [right(subset="Ties", group=f"tied:{n}", instruction=f"t{n}") for n in range(3)]
    reference = [wrong(subset="Ties", group="ref:1", instruction="r1")]
    assert values("rewardbench2", several + reference) == {"ties_accuracy": 0.5}


def test_the_overall_score_of_rewardbench_2_is_the_mean_of_its_subsets():
    """The model card of Llama-3.1-70B-Instruct-RM-RB2: 81.3, 41.9, 69.9, 88.4, 86.5 and 88.3 make 76.1."""
    shares = {"Factuality": 813, "Precise IF": 419, "Math": 699, "Safety": 884, "Focus": 865}
    pairs = []
    for name, share in shares.items():
        pairs += [right(subset=name)] * share + [wrong(subset=name)] * (1000 - share)
    for kind in ("ref", "tied"):
        pairs += [right(subset="Ties", group=f"{kind}:{n}") for n in range(883)]
        pairs += [wrong(subset="Ties", group=f"{kind}:{n}") for n in range(883, 1000)]
    scores = values("rewardbench2", pairs)
    assert round(100 * scores["overall_ties_by_accuracy"], 1) == pytest.approx(76.05, abs=0.051)
    assert scores["overall_without_ties"] == pytest.approx(sum(shares.values()) / 5000)


def test_a_style_that_fools_the_judge_shows_in_the_hard_accuracy():
    """A judge that always prefers the fancier style, and is right where the styles are alike."""

    def fooled(variant: str, **fields: str) -> Judged:
        chosen, rejected = (("concise", "plain", "markdown").index(style) for style in variant.split("/"))
        return (right if chosen >= rejected else wrong)(variant=variant, **fields)

    scores = values("rm_bench", pairs_of("rm_bench", fooled))
    assert (scores["easy"], scores["normal"], scores["hard"]) == (1.0, 1.0, 0.0)
    assert scores["chat"] == scores["safety"] == scores["average"] == pytest.approx(2 / 3)


def test_safety_is_one_domain_of_rm_bench_and_levels_are_means_over_domains():
    """Skywork-Reward-Llama-3.1-8B: chat 69.5, math 60.6, code 54.5 and safety 95.7 make 70.1."""
    refusing = [
        pair._replace(as_given="B", swapped="A") if pair.subset == "safety-refuse" else pair
        for pair in pairs_of("rm_bench", right)
    ]
    scores = values("rm_bench", refusing)
    assert (scores["safety"], scores["chat"]) == (0.5, 1.0)
    assert scores["average"] == scores["hard"] == 3.5 / 4
    assert round((69.5 + 60.6 + 54.5 + 95.7) / 4, 1) == 70.1


def test_an_unknown_style_is_refused():
    with pytest.raises(ValueError, match="'long/short' of an RM-Bench pair is not two of concise, plain, markdown"):
        values("rm_bench", [right(variant="long/short")])


@pytest.mark.parametrize(
    ("as_given", "swapped", "expected"),
    [("A", "B", 1), ("A", "TIE", 1), ("A", None, 1), ("A", "A", 0), ("TIE", "TIE", 0), ("B", None, 0), (None, None, 0)],
)
def test_judge_bench_lets_the_orders_vote(as_given, swapped, expected):
    assert values("judgebench", [("A", as_given, swapped)]) == {"both_orders_accuracy": expected}


def test_llmbar_averages_its_adversarial_sets_without_weights():
    pairs = [right(subset="Adversarial/Manual"), *[wrong(subset="Adversarial/Neighbor")] * 3, right(subset="Natural")]
    scores = values("llmbar", pairs)
    assert (scores["natural"], scores["adversarial"], scores["average"]) == (1.0, 0.5, pytest.approx(2 / 3))


def test_positional_agreement_counts_consistent_verdicts_right_or_wrong():
    pairs = [right(), wrong(), Judged("A", "A", "A"), Judged("A", None, None)]
    assert values("llmbar", pairs)["positional_agreement"] == 0.5


def test_mt_bench_calls_an_inconsistent_verdict_a_tie():
    pairs = [("TIE", "A", "A"), ("A", "A", "A"), ("A", "A", "B"), ("B", "A", "B"), ("TIE", "A", "B")]
    assert values("mt_bench", pairs) == pytest.approx(
        {"agreement_with_ties": 2 / 5, "agreement_without_ties": 1 / 2, "decided": 2 / 5}
    )


def test_agreement_of_a_judge_that_never_decides_is_left_out():
    assert "agreement_without_ties" not in values("mt_bench", [("A", "A", "A")])


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


@given(pairs=st.lists(st.tuples(labels, answers, answers), min_size=1, max_size=15))
@pytest.mark.parametrize("form", ["mt_bench", "pandalm", "judgebench", "llmbar"])
def test_naming_the_two_responses_the_other_way_round_changes_no_published_score(form, pairs):
    exchanged = [(turned(label), swapped, as_given) for label, as_given, swapped in pairs]
    assert values(form, exchanged) == pytest.approx(values(form, pairs))
