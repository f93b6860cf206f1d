"""Random streams and the nucleus."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from selftaught_assets.engines.drawing import draw, stream_keys, uniforms
from selftaught_assets.recipe.engines import SamplingParameters

SEEDS = st.integers(0, 2**63 - 1)


def logits(rows: int, vocabulary: int, scale: float, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


def uniform(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(rows))


def nucleus(row: torch.Tensor, temperature: float, top_p: float) -> np.ndarray:
    """Probabilities after the filter, by the definition."""
    probabilities = (row.double() / temperature).softmax(-1).numpy()
    order = np.argsort(-probabilities)
    kept = order[: int((np.cumsum(probabilities[order]) < top_p).sum()) + 1]
    filtered = np.zeros_like(probabilities)
    filtered[kept] = probabilities[kept]
    return filtered / filtered.sum()


@given(SEEDS, SEEDS, st.integers(0, 100), st.integers(0, 4_000))
def test_a_number_depends_on_seed_sample_and_position_alone(seed: int, other: int, index: int, position: int) -> None:
    alone = uniforms(stream_keys([seed], [index]), np.array([position]))
    among = uniforms(stream_keys([other, seed, other], [3, index, 0]), np.array([7, position, 0]))
    assert alone[0] == among[1]


def test_numbers_of_all_streams_are_uniform_and_differ() -> None:
    keys = stream_keys(np.repeat(np.arange(100), 10).tolist(), np.tile(np.arange(10), 100).tolist())
    numbers = np.concatenate([uniforms(keys, np.full(1_000, position)) for position in range(30)])
    assert stats.kstest(numbers, "uniform").pvalue > 0.001
    assert len(np.unique(numbers)) == len(numbers)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.02


def test_temperature_zero_takes_the_most_likely_token() -> None:
    values = logits(20, 50, 3.0)
    greedy = SamplingParameters(temperature=0, top_p=0.1)
    assert torch.equal(draw(values, uniform(20), greedy), values.argmax(-1))


@given(st.integers(0, 1_000), st.sampled_from([0.3, 0.9, 0.99, 1.0]), st.sampled_from([0.2, 1.0, 8.0]))
def test_no_token_outside_the_nucleus_is_drawn(seed: int, top_p: float, scale: float) -> None:
    values = logits(8, 300, scale, seed)
    drawn = draw(values, uniform(8, seed), SamplingParameters(temperature=0.7, top_p=top_p))
    for row, token in zip(values, drawn, strict=True):
        assert nucleus(row, 0.7, top_p)[token] > 0


def test_frequencies_are_those_of_the_nucleus() -> None:
    for scale, top_p in ((0.3, 0.9), (2.0, 0.9), (2.0, 1.0)):
        row = logits(1, 100, scale)
        drawn = draw(row.expand(20_000, -1), uniform(20_000), SamplingParameters(temperature=0.7, top_p=top_p))
        expected = nucleus(row[0], 0.7, top_p) * 20_000
        counts = np.bincount(drawn.numpy(), minlength=100)
        common = expected > 5
        rest = counts[~common].sum(), expected[~common].sum()
        statistic = ((counts - expected)[common] ** 2 / expected[common]).sum() + (
            (rest[0] - rest[1]) ** 2 / rest[1] if rest[1] else rest[0]
        )
        assert stats.chi2.sf(statistic, common.sum()) > 0.001


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("temperature", [1e-19, 1e-30, 1e-38, 1e-45, 1e-308, 5e-324])
def test_the_colder_the_more_likely_is_the_likeliest_token(temperature: float, top_p: float) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        values = torch.stack([logits(1, 50, 30.0, seed=row)[0].unique()[torch.randperm(50)] for row in range(20)])
        sampling = SamplingParameters(temperature=temperature, top_p=top_p)
        drawn = draw(values.to(dtype), uniform(20), sampling)
        likeliest = values.to(dtype).max(-1).values
        assert torch.equal(values.to(dtype).gather(-1, drawn[:, None])[:, 0], likeliest)


def test_a_row_is_drawn_alike_alone_and_among_rows_with_wider_nuclei() -> None:
    values = torch.cat([logits(30, 400, 8.0), logits(30, 400, 1.0), logits(30, 400, 0.1)])
    sampling = SamplingParameters(temperature=0.7, top_p=0.9)
    together = draw(values, uniform(90), sampling)
    alone = torch.cat([draw(values[i : i + 1], uniform(90)[i : i + 1], sampling) for i in range(90)])
    assert torch.equal(together, alone)
