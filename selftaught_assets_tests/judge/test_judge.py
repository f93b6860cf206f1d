from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.engines.asking import judge_tasks
from selftaught_assets.engines.journalled import generate
from selftaught_assets.errors import UserError
from selftaught_assets.judge import Judge
from selftaught_assets.judge.answers import Answer, PairQuestion, ResponseQuestion
from selftaught_assets.judge.judge import VERDICT_SCHEMA
from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.scoring.accuracy import verdict_table
from selftaught_assets.method.verdicts import swap
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.storage.journal import Journal, MemoryJournal
from selftaught_assets_tests.conftest import write_small_recipe
from selftaught_assets_tests.engines.scripted_server import ScriptedServer, saying, serving
from selftaught_assets_tests.judge.conftest import Workplace

SORT = ("Sort the numbers up : 27 19 24", "19 27 24", "19 24 27")


def _texts(pairs: pl.DataFrame) -> list[tuple[str, str, str]]:
    return list(pairs.select("instruction", "response_a", "response_b").iter_rows())


def _greedy(judge: Judge, pairs: pl.DataFrame) -> list[Answer]:
    """Asked together, which is quick; that they are answered as one by one is tested below."""
    return judge.answer([PairQuestion(*texts, votes=1) for texts in _texts(pairs)])


def test_an_easy_pair_is_judged_right_and_says_why(seed_judge: Judge) -> None:
    found = seed_judge.compare("Number of tools : gauge ochre red", "gauge", "1", votes=8, both_orders=True)
    assert found.verdict == "B"
    assert found.confidence == found.votes_b / len(found.judgments) > 0.5
    assert all(judgment.text for judgment in found.judgments)


def test_the_same_question_has_the_same_answer(seed_judge: Judge) -> None:
    assert seed_judge.compare(*SORT, votes=8) == seed_judge.compare(*SORT, votes=8)


def test_answers_do_not_depend_on_what_else_is_asked(seed_judge: Judge, pairs: pl.DataFrame) -> None:
    questions = [
        PairQuestion(*texts, votes=1 + place % 4, both_orders=place % 3 == 0)
        for place, texts in enumerate(_texts(pairs)[:12])
    ]
    questions += [ResponseQuestion("Number of tools : gauge", "1", votes=2), questions[5]]
    assert seed_judge.answer(questions) == [seed_judge.answer([question])[0] for question in questions]


def test_one_vote_is_the_greedy_verdict_of_the_platform(trained_judge: Judge, pairs: pl.DataFrame) -> None:
    recipe = trained_judge.settings
    items = pairs.rename({"id": "item_id"}).with_columns(
        benchmark=pl.lit("tiny"),
        group_id="item_id",
        instruction_id="item_id",
        reference=pl.lit(None, pl.String),
        variant=pl.lit(None, pl.String),
    )
    requests = benchmark_requests(items)
    greedy = SamplingParameters(temperature=0, top_p=1, max_tokens=recipe.evaluation.sampling.max_tokens)
    completions = generate(
        trained_judge._engine, MemoryJournal(), judge_tasks(recipe, requests, n=1), greedy, lambda progress: None
    ).frame
    table = verdict_table(requests, completions, decoding="greedy", judge=trained_judge.digest)
    found = [answer.verdict for answer in _greedy(trained_judge, requests)]
    assert [verdict.value if verdict != "INVALID" else None for verdict in found] == table["verdict"].to_list()
    assert {"A", "B"} <= set(found)


def test_pooled_over_both_orders_swapped_responses_swap_the_votes(seed_judge: Judge, pairs: pl.DataFrame) -> None:
    all_of = {"votes": 5, "both_orders": True, "abstain_below": 0.01}
    for instruction, response_a, response_b in _texts(pairs)[:6]:
        found = seed_judge.compare(instruction, response_a, response_b, **all_of)
        mirrored = seed_judge.compare(instruction, response_b, response_a, **all_of)
        assert (found.votes_a, found.votes_b) == (mirrored.votes_b, mirrored.votes_a)
        if found.votes_a != found.votes_b:
            assert found.verdict == swap(mirrored.verdict)


def test_a_judge_that_may_abstain_casts_all_votes(seed_judge: Judge) -> None:
    easy = "Number of tools : gauge ochre red", "gauge", "1"
    assert len(seed_judge.compare(*easy, votes=32, abstain_below=0.1).judgments) == 32
    assert len(seed_judge.compare(*easy, votes=32).judgments) < 32


def test_the_best_of_several_responses_wins_its_games(seed_judge: Judge) -> None:
    instruction, responses = "Number of tools : gauge ochre red", ["gauge", "1", "gauge ochre"]
    table = seed_judge.best(instruction, responses, votes=8)
    assert {row.candidate for row in table} == {0, 1, 2}
    assert [row.points for row in table] == sorted((row.points for row in table), reverse=True)
    first, last = table[0].candidate, table[-1].candidate
    assert seed_judge.compare(instruction, responses[first], responses[last], votes=8).verdict == "A"


def test_equal_responses_cancel_over_both_orders(seed_judge: Judge) -> None:
    found = seed_judge.compare("Number of tools : gauge", "1", "1", votes=9, both_orders=True)
    assert found.votes_a == found.votes_b == 9 - found.votes_invalid / 2


def test_the_trained_judge_is_another_than_the_seed(
    seed_judge: Judge, trained_judge: Judge, pairs: pl.DataFrame
) -> None:
    assert seed_judge.digest != trained_judge.digest
    assert _greedy(seed_judge, pairs) != _greedy(trained_judge, pairs)


def test_many_pairs_are_judged_as_one_by_one_in_their_order_beside_their_columns(
    seed_judge: Judge, pairs: pl.DataFrame
) -> None:
    pairs = pairs.head(12)
    judged = seed_judge.compare_many(pairs, votes=4, both_orders=True, judgments=True)
    assert judged.columns == [*pairs.columns, *VERDICT_SCHEMA, "judgments"]
    assert judged.select(pairs.columns).equals(pairs)
    for row, texts in zip(judged.iter_rows(named=True), _texts(pairs), strict=True):
        single = seed_judge.compare(*texts, votes=4, both_orders=True)
        assert row["verdict"] == single.verdict
        assert row["confidence"] == single.confidence
        assert row["judgments"] == [judgment._asdict() for judgment in single.judgments]


def test_rows_that_cannot_be_judged_have_an_error_and_the_others_a_verdict(seed_judge: Judge) -> None:
    long = "Sort the numbers up : " + "27 " * 3000
    rows = [SORT, (SORT[0], None, "x"), (" \n", "x", "y"), (long, "x", "y"), SORT]
    frame = pl.DataFrame(rows, schema=["instruction", "response_a", "response_b"], orient="row")
    judged = seed_judge.compare_many(frame, votes=2)
    assert judged["error"].to_list() == [
        None,
        "response_a is empty",
        "instruction is empty",
        "The texts are too long for the judge: its prompt does not fit into the model's context.",
        None,
    ]
    assert judged["verdict"].is_null().to_list() == [False, True, True, True, False]
    assert judged.row(0) == judged.row(4)
    with pytest.raises(UserError, match="too long for the judge"):
        seed_judge.compare(long, "x", "y")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"instruction": "Sort \ud83d"}, "instruction holds half of a surrogate pair"),
        ({"response_b": "\udc80"}, "response_b holds half of a surrogate pair"),
        ({"instruction": ""}, "instruction is empty"),
        ({"response_a": "\u00a0"}, "response_a is empty"),
        ({"response_a": 27}, "response_a must be text, not int"),
        ({"response_b": None}, "response_b must be text, not NoneType"),
        ({"votes": 2.5}, "number of votes must lie between 1 and 1024 and be whole, not 2.5"),
        ({"votes": 0}, "number of votes .* not 0"),
        ({"votes": "3"}, "number of votes .* not '3'"),
        ({"abstain_below": 1.5}, "confidence to abstain below must lie between 0 and 1, not 1.5"),
        ({"abstain_below": float("nan")}, "confidence to abstain below"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(seed_judge: Judge, asked: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        seed_judge.compare(**(dict(zip(("instruction", "response_a", "response_b"), SORT, strict=True)) | asked))


def test_a_response_without_text_is_not_scored(seed_judge: Judge) -> None:
    with pytest.raises(UserError, match="response is empty"):
        seed_judge.score(SORT[0], " ")
    with pytest.raises(UserError, match=r"votes must lie between .* whole"):
        seed_judge.score(*SORT[:2], votes=1.5)


def test_a_question_that_cannot_be_asked_leaves_its_neighbours_their_answers(seed_judge: Judge) -> None:
    first, none, last = seed_judge.answer([PairQuestion(*text, votes=1) for text in (SORT, ("", "a", "b"), SORT)])
    assert first == last != none
    assert str(none) == "The judge cannot be asked: instruction is empty."


@pytest.mark.parametrize(
    ("pairs", "votes", "sentence"),
    [
        (
            pl.LazyFrame([SORT], ["instruction", "response_a", "response_b"], orient="row"),
            2,
            r"not LazyFrame: call .*collect",
        ),
        ([{"instruction": "i"}], 2, "must be a Polars DataFrame, not list"),
        (
            pl.DataFrame([SORT], ["instruction", "response_a", "response_b"], orient="row"),
            2.5,
            "votes must lie between .* whole",
        ),
    ],
)
def test_many_pairs_in_the_wrong_form_are_refused_in_one_sentence(
    seed_judge: Judge, pairs: object, votes: object, sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        seed_judge.compare_many(pairs, votes=votes)


def test_one_text_is_not_ranked_letter_by_letter(seed_judge: Judge) -> None:
    with pytest.raises(UserError, match="list of texts"):
        seed_judge.best(SORT[0], "123")


def test_many_pairs_are_remembered_and_single_ones_leave_nothing_behind(
    workplace: Workplace, seed_judge: Judge, pairs: pl.DataFrame, tmp_path: Path
) -> None:
    judge = Judge("seed", seed_judge._engine, workplace.recipe, Journal(tmp_path / "journal"))
    judge.compare(*SORT, votes=2)
    assert not (tmp_path / "journal").exists()
    first = judge.compare_many(pairs, votes=3)
    shards = sorted((tmp_path / "journal").iterdir())
    assert judge.compare_many(pairs, votes=3).equals(first)
    assert sorted((tmp_path / "journal").iterdir()) == shards


def test_an_empty_frame_comes_back_empty(seed_judge: Judge) -> None:
    frame = pl.DataFrame(schema=dict.fromkeys(("instruction", "response_a", "response_b"), pl.String))
    assert seed_judge.compare_many(frame).columns == [*frame.columns, *VERDICT_SCHEMA]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda frame: frame.drop("response_b"), "have no column 'response_b'"),
        (lambda frame: frame.with_columns(response_a=pl.lit(3)), "'response_a' must hold text, not Int32"),
        (lambda frame: frame.with_columns(verdict=pl.lit("A")), "have a column 'verdict' already"),
    ],
)
def test_frames_that_cannot_be_judged_are_refused_in_a_sentence(seed_judge, pairs, change, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        seed_judge.compare_many(change(pairs))


@pytest.mark.parametrize("votes", [0, 1025])
def test_impossible_numbers_of_votes_are_refused(seed_judge: Judge, votes: int) -> None:
    with pytest.raises(UserError, match="must lie between 1 and 1024"):
        seed_judge.compare(*SORT, votes=votes)


def test_progress_counts_pairs_and_judgments(seed_judge, workplace, pairs, tmp_path) -> None:
    judge = Judge("seed", seed_judge._engine, workplace.recipe, Journal(tmp_path))
    reports = []
    judged = judge.compare_many(pairs, votes=6, judgments=True, on_progress=reports.append)
    assert [report.settled for report in reports] == sorted(report.settled for report in reports)
    assert reports[-1].questions == pairs.height
    assert reports[-1].judgments == judged["judgments"].list.len().sum()


def test_a_score_keeps_every_judgment_and_invents_no_rating(seed_judge: Judge) -> None:
    found = seed_judge.score("Number of tools : gauge ochre red", "1", votes=3)
    assert len(found.judgments) == len(found.ratings) == 3
    valid = [rating for rating in found.ratings if rating is not None]
    assert found.score == (sum(valid) / len(valid) if valid else None)


def test_without_a_prompt_for_scores_a_sentence_says_so(seed_judge: Judge, workplace: Workplace, tmp_path) -> None:
    from selftaught_assets.recipe import load_recipe

    bare = tmp_path / "bare"
    bare.mkdir()
    for template in workplace.recipe.prompts.iterdir():
        if template.stem != "score":
            (bare / template.name).write_bytes(template.read_bytes())
    recipe = load_recipe(str(write_small_recipe(tmp_path, prompts=str(bare))))
    judge = Judge("seed", seed_judge._engine, recipe, Journal(tmp_path / "journal"))
    with pytest.raises(UserError, match="Recipe small: there is no prompt template `score`"):
        judge.score("x", "y")


def test_another_engine_takes_the_place_of_the_recipes(workplace: Workplace, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(ScriptedServer(saying("Sorted. [[B]]"))) as server:
        engine = f"{{name: openai, address: {server.address}, model: seed, identity: seed-v1}}"
        with Judge.load("iteration_03", str(workplace.recipe_path), data=workplace.data, engine=engine) as judge:
            found = judge.compare(*SORT, votes=3)
    assert found.verdict == "B"
    assert {judgment.text for judgment in found.judgments} == {"Sorted. [[B]]"}
    assert {asked.body["model"] for asked in server.completions()} == {judge.digest[:16]}
    assert server.paths()[-1] == "unload_lora_adapter"
