"""Whether instructions occur in a benchmark, which would then measure what was trained on.

Belongs here: overlap of texts, exact and by runs of words. Not here: what follows from it (checks), and texts that are
merely alike (`similarity`).

Two measures. *Exact*: equal but for white space and case. *Runs of 13 words*, the customary size (GPT-3, arXiv
2005.14165, appendix C): words are runs of letters, digits and underscores, in lower case, so punctuation and line
breaks do not hide a copy. An item of fewer than 13 words has no run; only the exact measure finds it. Languages
that do not part words by spaces have few runs.

Runs are compared as 64-bit hashes, never as strings: the words of a portion of the texts become one array of numbers, a
polynomial over 13 of them is a run. With 10^8 runs of instructions and 10^6 of the benchmark, a false hit has a
probability of about 10^8 × 10^6 / 2^64 = 5 × 10^-6; nothing that is there is missed.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl

from selftaught_assets.method.texts import normalized_instruction

RUN = 13
PORTION = 20_000
"""Texts whose words are in memory at once."""

_BASE = np.uint64(0x9E3779B97F4A7C15)
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
    for rows, found in _portions(texts):
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
    for rows, runs in _portions(texts):
        yield from zip(rows.tolist(), runs.tolist(), strict=True)


def _portions(texts: pl.Series) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The row of each run, and the runs."""
    for start in range(0, len(texts), PORTION):
        words = texts.slice(start, PORTION).fill_null("").str.extract_all(r"\w+")
        counts = words.list.len().to_numpy().astype(np.int64)
        numbers = words.explode().drop_nulls().hash(seed=0).to_numpy()
        row_of_word = np.repeat(np.arange(start, start + counts.size), counts)
        if numbers.size < RUN:
            continue
        run = np.zeros(numbers.size - RUN + 1, dtype=np.uint64)
        for place in range(RUN):
            run = run * _BASE + numbers[place : place + run.size]
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
