"""Sequential sampling against the same random streams sampled whole."""

import random
from statistics import mean

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method.judging import JUDGMENT_COLUMNS, SETTLES, batch_size, sample_until_right, until_settled
from selftaught_assets.method.training_set import select_examples

N = 6
STREAMS = st.lists(
    st.lists(st.sampled_from(["right", "wrong", "invalid", "cut", "failed"]), min_size=N, max_size=N), max_size=12
)


class Judge:
    """Answers from fixed streams of outcomes, one for each pair, and counts what it was asked."""

    def __init__(self, streams: list[list[str]]) -> None:
        self._streams = streams
        self.requests = pl.DataFrame(
            {
                "pair_id": [f"pair {i}" for i in range(len(streams))],
                "chosen_position": ["AB"[i % 2] for i in range(len(streams))],
            },
            schema={"pair_id": pl.String, "chosen_position": pl.String},
        )
        self.asked: list[int] = []

    def ask(self, requests: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
        self.asked.append(requests.height * (end - first))
        rows = [
            self._row(pair, position, index) for pair, position in requests.iter_rows() for index in range(first, end)
        ]
        dtypes = {"sample_index": pl.Int64, "is_correct": pl.Boolean, "completion_tokens": pl.Int64}
        return pl.DataFrame(rows, schema={name: dtypes.get(name, pl.String) for name in JUDGMENT_COLUMNS})

    def all(self) -> pl.DataFrame:
        return Judge(self._streams).ask(self.requests, 0, N)

    def _row(self, pair: str, position: str, index: int) -> dict[str, object]:
        outcome = self._streams[int(pair.removeprefix("pair "))][index]
        right = outcome in ("right", "cut")
        return {
            "judgment_id": f"{int(pair.removeprefix('pair ')) * N + index:016x}",
            "pair_id": pair,
            "sample_index": index,
            "chosen_position": position,
            "judge": "digest",
            "judgment": outcome,
            "verdict": None if outcome in ("invalid", "failed") else position if right else "BA"["AB".index(position)],
            "is_correct": right,
            "finish_reason": {"cut": "length", "failed": "failed"}.get(outcome, "stop"),
            "completion_tokens": 3,
        }


@given(streams=STREAMS, capacity=st.integers(1, 40))
def test_the_table_is_that_of_all_judgments_up_to_the_first_right_one(streams, capacity):
    judge = Judge(streams)
    table = sample_until_right(judge.requests, judge.ask, n=N, capacity=capacity)
    assert table.equals(until_settled(judge.all()))
    whole = {row["judgment_id"]: row for row in judge.all().to_dicts()}
    assert all(whole[row["judgment_id"]] == row for row in table.to_dicts())


@given(streams=STREAMS, capacity=st.integers(1, 40))
def test_the_same_pairs_give_an_example_as_among_all_judgments(streams, capacity):
    judge = Judge(streams)
    sequential = sample_until_right(judge.requests, judge.ask, n=N, capacity=capacity)
    kept = [
        set(select_examples(table, keep="correct", seed=1).filter(pl.col("drop_reason").is_null())["pair_id"])
        for table in (sequential, judge.all())
    ]
    assert kept[0] == kept[1]
    settling = sequential.filter(SETTLES)
    assert settling["pair_id"].is_unique().all()
    assert set(settling["pair_id"]) == kept[0]


@given(streams=STREAMS.filter(bool))
def test_without_room_to_spare_nothing_is_asked_beyond_the_first_right_judgment(streams):
    judge = Judge(streams)
    table = sample_until_right(judge.requests, judge.ask, n=N, capacity=1)
    assert sum(judge.asked) == table.height


@given(streams=STREAMS, capacity=st.integers(1, 40))
def test_a_batch_fits_into_the_engine_or_is_one_judgment_of_each(streams, capacity):
    judge = Judge(streams)
    sample_until_right(judge.requests, judge.ask, n=N, capacity=capacity)
    assert all(asked <= max(capacity, len(streams)) for asked in judge.asked)


@pytest.mark.parametrize(
    ("waiting", "sampled", "expected"), [(1800, 0, 1), (250, 1, 1), (100, 2, 2), (40, 4, 4), (1, 0, 8), (0, 0, 8)]
)
def test_batches_grow_as_pairs_are_settled(waiting, sampled, expected):
    assert batch_size(waiting, sampled=sampled, n=8, capacity=1024) == expected


def test_the_first_right_judgment_is_distributed_as_a_random_right_one():
    """Right judgments of three kinds with shares 1 : 2 : 3, among as many wrong ones: 20,000 pairs, N = 6."""
    draws = random.Random(0)
    kinds, weights = ("one", "two", "three", "wrong"), (1, 2, 3, 6)
    first, at_random = [], []
    for _ in range(20_000):
        right = [kind for kind in draws.choices(kinds, weights, k=N) if kind != "wrong"]
        if right:
            first.append(right[0])
            at_random.append(draws.choice(right))
    for kind, weight in zip(kinds[:3], weights, strict=False):
        shares = [mean(found == kind for found in chosen) for chosen in (first, at_random)]
        assert shares == pytest.approx([weight / 6, weight / 6], abs=0.012)  # Three standard errors.
