"""Judgments that are asked for the verdict that they lack, on a judge whose streams are fixed."""

import hashlib
from functools import partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selftaught_assets.engines.asking import (
    measured_verdicts,
    sample_judgments,
    use_requests,
    votes_until_decided,
)
from selftaught_assets.engines.journalled import GenerationTask, Tasks
from selftaught_assets.errors import UserError
from selftaught_assets.method.benchmarks import benchmark_rows
from selftaught_assets.method.judging import (
    benchmark_requests,
    judging_requests,
    judgments_table,
    sample_until_right,
    until_settled,
)
from selftaught_assets.method.training_set import filtered_set
from selftaught_assets.recipe import Recipe, load_recipe
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets_tests.conftest import write_small_recipe

SAYS = {
    "silent": ("It is hard to tell", "stop"),
    "cut": ("The first one [[", "length"),
    "thinks": ("<think>Is it [[B]]?", "length"),
    "right": ("Yes. [[A]]", "stop"),
    "wrong": ("No. [[B]]", "stop"),
    "both": ("[[A]] or [[B]]", "stop"),
    "tie": ("[[C]]", "stop"),
    "long": ("", "prompt_too_long"),
    "failed": ("", "failed"),
}
LACK_ONE = ("silent", "cut", "thinks")
N = 4
CLOSING = "\n\nFinal verdict: "


class Judge:
    """Says what a stream of outcomes says; the verdicts that it is asked for depend on seed and sample alone."""

    def __init__(self, outcomes: list[str], elicited: str | None = None) -> None:
        self._outcomes = outcomes
        self._elicited = elicited
        self.asked: list[GenerationTask] = []
        self.sampling: list[SamplingParameters] = []

    def sample(self, tasks: Tasks, sampling: SamplingParameters) -> pl.DataFrame:
        rows = []
        for task in tasks:
            self.asked.append(task)
            for index in range(task.first, task.n):
                text, reason = self._says(task, index)
                error = "The server said 500." if reason == "failed" else None
                rows.append(
                    (task.request_id, index, text, reason, 9, (1 if task.choices else 5) * (reason == "stop"), error)
                )
        assert len(rows) == tasks.samples
        self.sampling.append(sampling)
        names = ("request_id", "sample_index", "text", "finish_reason", "prompt_tokens", "completion_tokens", "error")
        numbers = dict.fromkeys(("sample_index", "prompt_tokens", "completion_tokens"), pl.Int64)
        return pl.DataFrame(rows, {name: numbers.get(name, pl.String) for name in names}, orient="row")

    def _says(self, task: GenerationTask, index: int) -> tuple[str, str]:
        drawn = hashlib.sha256(f"{task.seed} {index}".encode()).digest()[0]
        if not task.choices:
            return SAYS[self._outcomes[drawn % len(self._outcomes)]]
        return SAYS[self._elicited] if self._elicited in SAYS else (task.choices[drawn % 2], "stop")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    path = write_small_recipe(tmp_path_factory.mktemp("eliciting"), verdicts={"elicit": "missing"})
    return load_recipe(str(path))


PAIRS = pl.DataFrame(
    {
        "pair_id": [f"{i:016x}" for i in range(6)],
        "instruction_id": [f"{i:016x}" for i in range(6)],
        "instruction": [f"Count to {i}" for i in range(6)],
        "chosen": ["1 2"] * 6,
        "rejected": ["2 1"] * 6,
        "drop_reason": [None] * 6,
    },
    schema_overrides={"drop_reason": pl.String},
)
REQUESTS = judging_requests(PAIRS, positions="random", seed=1)
STREAMS = st.lists(st.sampled_from([*SAYS]), min_size=1, max_size=12)
SAMPLING = SamplingParameters(temperature=0.7, max_tokens=9)


def judged(recipe: Recipe, judge: Judge, requests: pl.DataFrame = REQUESTS, first: int = 0, end: int = N):
    return sample_judgments(recipe, requests, judge.sample, SAMPLING, n=end, first=first)


def never(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"verdicts": recipe.verdicts.model_copy(update={"elicit": "never"})})


@given(STREAMS)
def test_only_judgments_without_a_verdict_are_asked_for_it_and_they_are_completed_by_one(recipe, outcomes):
    as_they_are = judged(never(recipe), Judge(outcomes))
    completed = judged(recipe, judge := Judge(outcomes))
    assert completed.height == as_they_are.height
    wanted = {SAYS[name] for name in LACK_ONE}
    for row, before in zip(completed.to_dicts(), as_they_are.to_dicts(), strict=True):
        elicited = row.pop("elicited")
        assert elicited is ((before["text"], before["finish_reason"]) in wanted)
        if elicited:
            ended = "\n</think>" if "<think>" in before["text"] else ""
            verdict = row["text"][-5:]
            assert verdict in ("[[A]]", "[[B]]")
            before |= {"text": f"{before['text']}{ended}{CLOSING}{verdict}", "finish_reason": "stop"}
            before["completion_tokens"] += 1
        assert row == before
    asked = [task for task in judge.asked if task.choices]
    assert all(task.choices == ("[[A]]", "[[B]]") for task in asked)
    seeds = [{task.seed for task in judge.asked if bool(task.choices) is elicits} for elicits in (True, False)]
    assert seeds[0].isdisjoint(seeds[1])
    assert set(judge.sampling) == {SAMPLING}


@given(STREAMS, st.integers(1, 30))
def test_a_table_that_stops_when_right_is_still_the_beginning_of_that_of_all_judgments(recipe, outcomes, capacity):
    judge = Judge(outcomes)

    def ask(some: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
        return judgments_table(some, judged(recipe, judge, some, first, end), judge="digest")

    table = sample_until_right(REQUESTS, ask, n=N, capacity=capacity)
    assert table.equals(until_settled(ask(REQUESTS, 0, N)))
    assert table.columns[-1] == "elicited"


def test_a_judgment_is_trained_on_as_it_was_completed(recipe):
    table = judgments_table(REQUESTS, judged(recipe, Judge(["silent", "cut"])), judge="digest")
    examples = filtered_set(table, PAIRS, recipe.templates, keep="correct", validation_share=0.0, seed=1)
    kept = examples.filter(pl.col("drop_reason").is_null())
    assert kept.height > 0
    for completion, label in kept.select("completion", "label").iter_rows():
        assert completion.endswith(f"{CLOSING}[[{label}]]")
        assert completion.removesuffix(f"{CLOSING}[[{label}]]") in (SAYS["silent"][0], SAYS["cut"][0])


def test_without_room_for_a_verdict_a_judgment_stays_as_it_was(recipe):
    frames = [judged(kind, Judge(["silent"], elicited="long")) for kind in (recipe, never(recipe))]
    assert frames[0].drop("elicited").equals(frames[1])
    assert not frames[0]["elicited"].any()


def test_a_verdict_that_could_not_be_had_is_asked_for_again_another_time(recipe):
    frame = judged(recipe, Judge(["silent"], elicited="failed"))
    assert set(frame["finish_reason"]) == {"failed"}
    assert set(frame["error"]) == {"The server said 500."}
    assert set(frame["text"]) == {""}
    with pytest.raises(UserError, match="verdicts could not be had"):
        measured_verdicts(recipe, MEASURED, Judge(["cut"], elicited="failed").sample, decoding="vote", judge="digest")


ITEM = {"instruction": "Count", "response_a": "1", "response_b": "2", "label": "A"}
MEASURED = benchmark_requests(benchmark_rows("b", [ITEM | {"id": number} for number in range(4)]))


@given(STREAMS.filter(lambda outcomes: not {"long", "failed"} & set(outcomes)))
def test_a_verdict_table_tells_what_it_would_be_without_elicited_votes(recipe, outcomes):
    judge, other = Judge(outcomes), Judge(outcomes)
    with_them = measured_verdicts(recipe, MEASURED, judge.sample, decoding="vote", judge="digest")
    without = measured_verdicts(never(recipe), MEASURED, other.sample, decoding="vote", judge="digest")
    assert with_them["verdict_without_elicited"].equals(without["verdict"].alias("verdict_without_elicited"))
    assert (with_them["votes_elicited"] == without["votes_invalid"] - with_them["votes_invalid"]).all()
    assert "votes_elicited" not in without.columns


@settings(max_examples=30)
@given(STREAMS.filter(lambda outcomes: not {"long", "failed"} & set(outcomes)))
def test_in_use_a_question_has_the_votes_of_the_measurement(recipe, outcomes):
    questions = MEASURED.filter(pl.col("order") == "AB").select(
        pl.int_range(pl.len()).alias("question"),
        *("instruction", "response_a", "response_b", "reference"),
        response=pl.lit(None, pl.String),
        pair_id=pl.concat_str("benchmark", "item_id", separator="/"),
        both_orders=pl.lit(True),
        n=pl.lit(3, pl.Int64),
        stops_early=pl.lit(False),
    )
    measured = measured_verdicts(recipe, MEASURED, Judge(outcomes).sample, decoding="vote", judge="digest")
    judge = Judge(outcomes)
    votes = votes_until_decided(recipe, use_requests(recipe, questions), lambda _: judge.sample)
    used = votes.group_by("question", "order").agg(
        pl.col("elicited").sum().cast(pl.Int64), pl.col("verdict").is_null().sum().cast(pl.Int64)
    )
    counts = measured.select(pl.col("item_id").cast(pl.Int64), "order", "votes_elicited", "votes_invalid")
    assert sorted(used.rows()) == sorted(counts.rows())


def test_a_rating_is_not_asked_for_a_verdict(recipe):
    alone = REQUESTS.with_columns(response=pl.lit("1 2"))
    shown = recipe.model_copy()
    templates = recipe.templates._replace(score="{{ instruction }}: {{ response }}")
    shown.__dict__["templates"] = templates
    judge = Judge(["silent"])
    assert not judged(shown, judge, alone)["elicited"].any()
    assert not any(task.choices for task in judge.asked)


def test_a_planted_token_outside_the_choices_is_no_verdict(recipe):
    frame = sample_judgments(recipe, REQUESTS, partial(_spoilt, Judge(["silent"]).sample), SAMPLING, n=1)
    assert not frame["elicited"].any()
    assert set(frame["text"]) == {SAYS["silent"][0]}


def test_a_planted_text_without_its_verdict_is_not_trained_on(recipe):
    completed = judged(recipe, Judge(["silent"]))
    planted = judgments_table(REQUESTS, completed.with_columns(text=pl.lit(SAYS["silent"][0])), judge="digest")
    examples = filtered_set(planted, PAIRS, recipe.templates, keep="correct", validation_share=0.0, seed=1)
    assert set(examples["drop_reason"]) == {"invalid_verdict"}


def _spoilt(sample, tasks: Tasks, sampling: SamplingParameters) -> pl.DataFrame:
    frame = sample(tasks, sampling)
    return frame.with_columns(text=pl.lit("[[Z]]")) if tasks.elicits else frame
