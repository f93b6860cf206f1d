"""Which instructions of the pool an iteration works on: categories, near-repetitions, and what occurs in a benchmark.

*How alike texts are.* Two texts are as alike as their sets of character runs: Jaccard's index, what both have over what
either has. Runs of white space count as one space, and case does not count. Only the first `CHARACTERS` of a text are
looked at.

*Whether an instruction occurs in a benchmark*, which would then measure what was trained on. Two measures: equal but
for white space and case; and runs of 13 words, the customary size (GPT-3, arXiv 2005.14165, appendix C). Words are runs
of letters, digits and underscores, in lower case, so punctuation and line breaks do not hide a copy. An item of fewer
than 13 words has no run, and languages that do not part words by spaces have few.

Runs are compared as 64-bit hashes, never as strings: the texts of a batch become one array of numbers, and a run is a
polynomial over its words or characters. With 10^8 runs of instructions and 10^6 of the benchmark, a false hit has a
probability of about 10^8 × 10^6 / 2^64 = 5 × 10^-6; nothing that is there is missed. It is ours since no library
compares two columns row by row; datasketch and rensa are measured in
docs/decisions/0010-libraries-and-our-own-code.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from selftaught_assets.method.identity import draw, normalized_instruction
from selftaught_assets.method.pool import repeated, source_name

CHARACTERS = 2_000
BATCH = 10_000
"""Texts whose runs are in memory at once."""

_BASE = np.uint64(0x100000001B3)
_MIX = np.uint64(0xBF58476D1CE4E5B9)

HASHES, BANDS = 64, 16
"""Of MinHash: a band has HASHES / BANDS of them."""
DOUBT = 0.1
"""Two standard deviations of its estimate."""


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
    batches = zip(_batches(left, size), _batches(right, size), strict=True)
    return pl.Series("similarity", [value for pair in batches for value in _jaccard(*pair)], dtype=pl.Float64)


def earlier_likeness(texts: pl.Series, similarity: float, size: int = 5) -> pl.Series:
    """For each text, the row of an earlier one that it almost equals; null where none is found.

    MinHash over runs of `size` characters with 64 hash functions, and banding: 16 bands of 4. With Jaccard's index J
    between two texts, a bucket in common has the probability 1 - (1 - J^4)^16 (0.9998 at 0.8), and the share of equal
    minima has the standard deviation √(J(1 - J) / 64), 0.05 at 0.8. Of the first texts of its buckets, a text is
    compared by its runs with the one that has most minima in common, unless they are more than `DOUBT` too few: among
    thousands of texts with one wording, some have 0.8 of the minima in common at an index of 0.65. A text that is like
    a later text of its bucket and unlike the first is not found, so counts are lower bounds.
    """
    minima = np.concatenate([_minima(runs) for runs in _batches(texts, size)] or [np.zeros((0, HASHES), np.uint32)])
    earlier, agreeing = np.full(len(texts), -1, dtype=np.int64), np.full(len(texts), similarity - DOUBT)
    width = HASHES // BANDS
    for band in range(BANDS):
        key = np.zeros(len(texts), dtype=np.uint64)
        for column in range(band * width, (band + 1) * width):
            key = (key ^ minima[:, column]) * _MIX
            key ^= key >> np.uint64(29)
        _, first, bucket = np.unique(key, return_index=True, return_inverse=True)
        candidate = first[bucket]
        later = np.flatnonzero(candidate != np.arange(len(texts)))
        shared = (minima[later] == minima[candidate[later]]).mean(axis=1)
        nearer = shared > agreeing[later]
        earlier[later[nearer]], agreeing[later[nearer]] = candidate[later[nearer]], shared[nearer]
    likely = np.flatnonzero(earlier >= 0)
    near = jaccard(texts[likely], texts[earlier[likely]], size).to_numpy() >= similarity
    earlier[likely[~near]] = -1
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


def _batches(texts: pl.Series, size: int) -> Iterator[_Runs]:
    plain = texts.fill_null("").str.slice(0, CHARACTERS).alias("text").to_frame()
    for start in range(0, len(texts), BATCH):
        shown = plain.slice(start, BATCH).select(normalized_instruction("text").str.pad_end(size, "\0")).to_series()
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


RUN = 13
OVERLAP_BATCH = 20_000
"""Texts whose words are in memory at once."""

_OVERLAP_BASE = np.uint64(0x9E3779B97F4A7C15)
_FILTER_BITS = 24


def benchmark_overlap(instructions: pl.Series, items: pl.DataFrame) -> pl.DataFrame:
    """What of a benchmark occurs in each instruction.

    Args:
        instructions: texts; null has no words.
        items: item_id, instruction.

    Returns:
        One row for each instruction, in their order: `equal_to`, the first item with the same instruction;
        `shares_with`, the item of which the largest share of runs occurs in it; `shared`, that share (0.0: none).
    """
    known = items.select("item_id", text=normalized_instruction("instruction")).unique("text", keep="first")
    known = known.filter(pl.col("text").str.len_bytes() > 0)
    rows = instructions.alias("instruction").to_frame().select(text=normalized_instruction("instruction"))
    equal = rows.join(known, on="text", how="left", maintain_order="left")["item_id"].alias("equal_to")
    shared = _shared_runs(rows["text"], known)
    return (
        pl.DataFrame([equal])
        .with_row_index("row")
        .join(shared, on="row", how="left", maintain_order="left")
        .select("equal_to", "shares_with", pl.col("shared").fill_null(0.0))
    )


def _shared_runs(texts: pl.Series, known: pl.DataFrame) -> pl.DataFrame:
    """row, shares_with, shared of the rows that share a run with an item."""
    runs = [(known["item_id"][int(first)], run) for first, run in _runs_with_rows(known["text"])]
    of_items = pl.DataFrame(
        {"item_id": [item for item, _ in runs], "run": [run for _, run in runs]},
        schema={"item_id": pl.String, "run": pl.UInt64},
    )
    empty = pl.DataFrame(schema={"row": pl.get_index_type(), "shares_with": pl.String, "shared": pl.Float64})
    if of_items.is_empty():
        return empty
    of_items = of_items.unique().with_columns(runs=pl.len().over("item_id"))
    maybe = _bitmap(of_items["run"].to_numpy())
    hits = [pl.DataFrame(schema={"row": pl.UInt32, "run": pl.UInt64})]
    for rows, found in _word_batches(texts):
        near = maybe[found >> np.uint64(64 - _FILTER_BITS)]
        hits.append(pl.DataFrame({"row": rows[near].astype(np.uint32), "run": found[near]}).unique())
    shared = (
        pl.concat(hits)
        .join(of_items, on="run")
        .group_by("row", "item_id")
        .agg(shared=pl.len() / pl.col("runs").first())
        .sort(["shared", "item_id"], descending=[True, False])
        .unique("row", keep="first", maintain_order=True)
    )
    return empty.vstack(shared.select(pl.col("row").cast(pl.get_index_type()), shares_with="item_id", shared="shared"))


def _runs_with_rows(texts: pl.Series) -> Iterator[tuple[int, int]]:
    for rows, runs in _word_batches(texts):
        yield from zip(rows.tolist(), runs.tolist(), strict=True)


def _word_batches(texts: pl.Series) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The row of each run, and the runs."""
    for start in range(0, len(texts), OVERLAP_BATCH):
        words = texts.slice(start, OVERLAP_BATCH).fill_null("").str.extract_all(r"\w+")
        counts = words.list.len().to_numpy().astype(np.int64)
        numbers = words.explode().drop_nulls().hash(seed=0).to_numpy()
        row_of_word = np.repeat(np.arange(start, start + counts.size), counts)
        if numbers.size < RUN:
            continue
        run = np.zeros(numbers.size - RUN + 1, dtype=np.uint64)
        for place in range(RUN):
            run = run * _OVERLAP_BASE + numbers[place : place + run.size]
        inside = row_of_word[: run.size] == row_of_word[RUN - 1 :]
        yield row_of_word[: run.size][inside], _mixed(run[inside])


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """The same numbers with every bit depending on all: the filter looks at the highest ones."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return numbers ^ (numbers >> np.uint64(31))


def _bitmap(runs: np.ndarray) -> np.ndarray:
    """Which highest bits occur at all: almost every run of an instruction ends here, without a search."""
    occurs = np.zeros(1 << _FILTER_BITS, dtype=bool)
    occurs[runs >> np.uint64(64 - _FILTER_BITS)] = True
    return occurs


SELECTION_DROP_REASONS = ("too_long", "other_category", "not_selected")

_CATEGORIES_LISTED = 10


def select_instructions(
    pool: pl.DataFrame,
    *,
    count: int,
    schedule: Literal["fixed", "fresh"],
    iteration: int,
    seed: int,
    max_characters: int,
    categories: Sequence[str] | None,
    shares: Mapping[str, float] | None = None,
) -> pl.DataFrame:
    """Selects `count` instructions for an iteration (paper section 3, "Instruction Selection").

    The usable instructions are put into one seeded order that all iterations share. `fixed` takes the first `count`
    in every iteration, as the paper does; `fresh` takes the next `count`, so that no two iterations share one. Where
    fewer are left, fewer are taken.

    Of rows with one text the first that is wanted is usable: one that the pool calls a duplicate may be that, if the
    one before it has another category.

    Args:
        pool: as `pool_rows` makes it.
        count: how many to select.
        schedule: `fixed` or `fresh`.
        iteration: 1, 2, …
        seed: the same in every iteration of a recipe.
        max_characters: longer instructions are left out.
        categories: only these values of `category`; None takes all, and rows without a category belong to none.
        shares: what part of `count` each source of the pool gives, by its name, in proportion; None draws from all
            of them together. A source that has too few gives what it has.

    Returns:
        Every row of `pool`, in its order, with `drop_reason` null where it is selected.

    Raises:
        ValueError: no instruction is left for this iteration, or a category is that of no row.
    """
    there = set(pool["category"].drop_nulls())
    if unknown := [name for name in categories or () if name not in there]:
        listed = ", ".join(map(repr, sorted(there)[:_CATEGORIES_LISTED])) or "none"
        more = ", …" if len(there) > _CATEGORIES_LISTED else ""
        raise ValueError(f"No row of the pool has the category {unknown[0]!r}; its categories are {listed}{more}.")
    unwanted = pl.lit(False) if categories is None else ~pl.col("category").is_in(list(categories)).fill_null(False)
    wanted = pool.with_columns(
        pl.when(pl.col("drop_reason") != "duplicate")
        .then("drop_reason")
        .when(pl.col("instruction").str.len_chars() > max_characters)
        .then(pl.lit("too_long"))
        .when(unwanted)
        .then(pl.lit("other_category"))
        .alias("drop_reason")
    )
    later = pl.when(repeated(wanted, pl.col("drop_reason").is_null())).then(pl.lit("duplicate"))
    screened = wanted.with_columns(pl.coalesce("drop_reason", later))
    usable, source = pl.col("drop_reason").is_null(), source_name()
    place = pl.when(usable).then(draw("instruction_id", seed, "selection")).rank("ordinal")
    taken = pl.lit(count)
    if shares is not None:
        place, taken = place.over(source), source.replace_strict(_quotas(count, shares), return_dtype=pl.Int64)
    first = pl.lit(0) if schedule == "fixed" else (iteration - 1) * taken
    selected = ((place > first) & (place <= first + taken)).fill_null(False)
    frame = screened.with_columns(
        pl.when(usable & ~selected).then(pl.lit("not_selected")).otherwise("drop_reason").alias("drop_reason")
    )
    if frame["drop_reason"].null_count() == 0:
        left = screened["drop_reason"].null_count()
        raise ValueError(
            f"Iteration {iteration} has no instruction left: {left} of the pool's {pool.height} instructions are "
            f"usable, and earlier iterations take {min((iteration - 1) * count, left)}."
        )
    return frame


def _quotas(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """`count` in proportion to the shares, in whole numbers that add up to it: the largest fractions are rounded up."""
    exact = {name: count * share / sum(shares.values()) for name, share in shares.items()}
    quotas = {name: int(number) for name, number in exact.items()}
    by_remainder = sorted(exact, key=lambda name: quotas[name] - exact[name])
    for name in by_remainder[: count - sum(quotas.values())]:
        quotas[name] += 1
    return quotas
