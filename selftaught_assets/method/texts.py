"""When two texts count as the same, and when a text counts as empty.

Belongs here: comparisons of texts that several stages share. Not here: what follows from them (`pairs`, `selection`).
"""

import polars as pl


def is_empty(column: str) -> pl.Expr:
    """True where the text is null or only white space."""
    return pl.col(column).fill_null("").str.strip_chars().str.len_bytes() == 0


def with_single_spaces(column: str) -> pl.Expr:
    """The text with every run of white space as one space: two texts that read the same are equal."""
    return pl.col(column).str.replace_all(r"\s+", " ").str.strip_chars()


def normalized_instruction(column: str) -> pl.Expr:
    """The text without differences of white space and case: two instructions that ask the same are equal."""
    return with_single_spaces(column).str.to_lowercase()
