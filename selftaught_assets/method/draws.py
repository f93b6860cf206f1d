"""Random draws that belong to ids: which rows are drawn depends on the seed and their ids, never on the order of rows.

Belongs here: the one source of randomness of the method's tables. Not here: what is drawn with it, and the random
streams of sampled text (an engine's business).

A draw is a fixed permutation of the 64 bits of an id, chosen by the seed (the finalizer of SplitMix64). Different ids
therefore never tie, and since ids are hashes, the values are uniform. Polars' own `hash` would not do: it promises
no stability from one version to the next, and a table must not change with an upgrade.
"""

import polars as pl

from selftaught_assets.method.identity import derive_seed


def draw(id_column: str, seed: int, purpose: str, *further_ids: str) -> pl.Expr:
    """One UInt64 for each row, uniform, a function of the row's ids, the seed and the purpose alone.

    Args:
        id_column: column of row ids as `identity.row_id` makes them (16 hex digits).
        seed: any integer.
        purpose: tells this draw from the others that are made with one seed. Without it the instructions that a
            selection prefers would also be the ones that a split holds out.
        further_ids: columns of further ids, where a row is a combination of several things.
    """
    bits = _mixed(_bits(id_column) ^ _word(derive_seed(seed, purpose)))
    for further in further_ids:
        bits = _mixed(bits ^ _bits(further))
    return bits


def share(id_column: str, seed: int, purpose: str) -> pl.Expr:
    """The draw as a Float64 in [0, 1]: compare it with a probability."""
    return draw(id_column, seed, purpose).cast(pl.Float64) / 2.0**64


def _bits(id_column: str) -> pl.Expr:
    return pl.col(id_column).str.to_integer(base=16, dtype=pl.UInt64)


def _mixed(bits: pl.Expr) -> pl.Expr:
    bits = bits + _word(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits // _word(1 << 30))) * _word(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits // _word(1 << 27))) * _word(0x94D049BB133111EB)
    return bits ^ (bits // _word(1 << 31))


def _word(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)
