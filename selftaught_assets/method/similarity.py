"""How alike texts are, for tables of a million rows.

Belongs here: similarity of two texts, texts that are almost equal to an earlier one, and how varied texts are. Not
here: which similarity is too much (checks), and whether a text is known from a benchmark (`overlap`).

Two texts are as alike as their sets of character runs: Jaccard's index, what both have over what either has. Runs of
white space count as one space, and case does not count. Only the first `CHARACTERS` of a text are looked at.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import polars as pl

from selftaught_assets.method.texts import normalized_instruction

CHARACTERS = 2_000
PORTION = 10_000
"""Texts whose runs are in memory at once."""

_BASE = np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)

HASHES, BANDS = 64, 16
"""Of MinHash: a band has HASHES / BANDS of them."""


class _Runs(NamedTuple):
    """The hashed runs of some texts, one after the other; every text has at least one."""

    hashes: np.ndarray
    starts: np.ndarray
    """Where the runs of each text begin."""

    @property
    def rows(self) -> np.ndarray:
        """The text of each run."""
        return np.repeat(np.arange(self.starts.size), np.diff(self.starts, append=self.hashes.size))


def jaccard(left: pl.Series, right: pl.Series, size: int = 3) -> pl.Series:
    """Similarity of the texts of two columns, row by row, in [0, 1] by runs of `size` characters; exact."""
    portions = zip(_portions(left, size), _portions(right, size), strict=True)
    return pl.Series("similarity", [value for pair in portions for value in _jaccard(*pair)], dtype=pl.Float64)


def earlier_likeness(texts: pl.Series, similarity: float, size: int = 5) -> pl.Series:
    """For each text, the row of an earlier one that it almost equals; null where none is found.

    MinHash over runs of `size` characters with 64 hash functions, and banding: 16 bands of 4. A text is compared with
    the first text of its bucket in each band, by the share of equal minima. With Jaccard's index J between the two, a
    bucket in common has the probability 1 - (1 - J^4)^16 (0.9998 at 0.8, 0.64 at 0.5), and the share of equal minima
    has the standard deviation √(J(1 - J) / 64), 0.05 at 0.8: that close to the threshold texts fall on either side. A
    text that is like a later text of its bucket and unlike the first is not found, so counts are lower bounds.
    """
    minima = np.concatenate([_minima(runs) for runs in _portions(texts, size)] or [np.zeros((0, HASHES), np.uint32)])
    earlier = np.full(len(texts), -1, dtype=np.int64)
    width = HASHES // BANDS
    for band in range(BANDS):
        key = np.zeros(len(texts), dtype=np.uint64)
        for column in range(band * width, (band + 1) * width):
            key = (key ^ minima[:, column]) * _MIX
            key ^= key >> np.uint64(29)
        _, first, bucket = np.unique(key, return_index=True, return_inverse=True)
        candidate = first[bucket]
        alone = np.flatnonzero((candidate != np.arange(len(texts))) & (earlier < 0))
        agreeing = (minima[alone] == minima[candidate[alone]]).mean(axis=1)
        near = agreeing >= similarity
        earlier[alone[near]] = candidate[alone[near]]
    return pl.Series("earlier", earlier).replace(-1, None)


def distinct_share(texts: pl.Series, n: int = 2) -> float | None:
    """distinct-n (arXiv 1510.03055): different runs of n words over all of them; None where no text has n words.

    It falls with the number of texts, so it is comparable for equal numbers only.
    """
    words = texts.str.extract_all(r"\S+").rename("word").to_frame().with_row_index("text").explode("word").drop_nulls()
    runs = words.select(
        *(pl.col("word").shift(-place).over("text").alias(str(place)) for place in range(n))
    ).drop_nulls()
    return runs.n_unique() / runs.height if runs.height else None


def _portions(texts: pl.Series, size: int) -> Iterator[_Runs]:
    plain = texts.fill_null("").str.slice(0, CHARACTERS).alias("text").to_frame()
    for start in range(0, len(texts), PORTION):
        shown = plain.slice(start, PORTION).select(normalized_instruction("text").str.pad_end(size, "\0")).to_series()
        yield _runs(shown, size)


def _runs(texts: pl.Series, size: int) -> _Runs:
    """All runs at once: a polynomial over the code points of the texts laid end to end, without those that span two."""
    lengths = texts.str.len_chars().to_numpy().astype(np.int64)
    points = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    run = np.zeros(points.size - size + 1, dtype=np.uint64)
    for place in range(size):
        run = run * _BASE + points[place : place + run.size]
    run = (run ^ (run >> np.uint64(30))) * _MIX
    run ^= run >> np.uint64(31)
    ends = np.cumsum(lengths)
    inside = np.ones(run.size, dtype=bool)
    for back in range(1, size):
        inside[ends[:-1] - back] = False
    counts = lengths - size + 1
    return _Runs(run[inside], np.cumsum(counts) - counts)


def _minima(runs: _Runs) -> np.ndarray:
    """MinHash: for each text the minimum of each hash function over its runs; (texts, HASHES) in 32 bits."""
    numbers = (runs.hashes >> np.uint64(32)).astype(np.uint32)
    minima = np.empty((runs.starts.size, HASHES), dtype=np.uint32)
    draws = np.random.default_rng(0).integers(0, 1 << 32, size=(HASHES, 2), dtype=np.uint32)
    for column, (factor, offset) in enumerate(draws):
        hashed = numbers * (factor | np.uint32(1))
        hashed ^= hashed >> np.uint32(15)
        hashed *= np.uint32(0x85EBCA6B)
        hashed ^= offset
        minima[:, column] = np.minimum.reduceat(hashed, runs.starts)
    return minima


def _jaccard(left: _Runs, right: _Runs) -> np.ndarray:
    """Runs of both texts are sorted as one number: the row in the 16 highest bits, 48 bits of the hash below."""
    both = np.sort(np.concatenate([_distinct(runs) for runs in (left, right)]))
    rows = (both >> np.uint64(48)).astype(np.int64)
    common = np.bincount(rows[1:][both[1:] == both[:-1]], minlength=left.starts.size)
    return common / (np.bincount(rows, minlength=left.starts.size) - common)


def _distinct(runs: _Runs) -> np.ndarray:
    numbers = np.sort((runs.rows.astype(np.uint64) << np.uint64(48)) | (runs.hashes >> np.uint64(16)))
    return numbers[np.concatenate([[True], numbers[1:] != numbers[:-1]])]
