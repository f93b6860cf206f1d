"""A second reading of verdicts and ratings, written without the first: what both read alike is no slip of one of them.
In the formats `output`, `json` and `answer`, whose grammar is not a handful of literal strings, the stored text is
read again by the first reading."""

import polars as pl

from selftaught_assets.method.verdicts import HIGHEST, LOWEST, VerdictFormat, parse_verdicts

_LITERALS: dict[VerdictFormat, dict[str, tuple[str, ...]]] = {
    "brackets": {"A": ("[[A]]",), "B": ("[[B]]",), "TIE": ("[[C]]",)},
    "arrows": {
        "A": ("[[A>>B]]", "[[A>B]]", "[[B<<A]]", "[[B<A]]"),
        "B": ("[[B>>A]]", "[[B>A]]", "[[A<<B]]", "[[A<B]]"),
        "TIE": ("[[A=B]]", "[[B=A]]"),
    },
}


def read_again(judgments: pl.Series, form: VerdictFormat, *, ties: bool) -> pl.Series:
    """The verdicts of texts: A, B, TIE or null, as `verdicts.parse_verdicts` should have them."""
    if form not in _LITERALS:
        return parse_verdicts(judgments, form, ties=ties)
    said = {name: _occurs(literals) for name, literals in _LITERALS[form].items()}
    alone = pl.sum_horizontal(said.values()) == 1
    verdict = pl.when(alone & said["A"]).then(pl.lit("A")).when(alone & said["B"]).then(pl.lit("B"))
    verdict = verdict.when(alone & said["TIE"]).then(pl.lit("TIE")) if ties else verdict
    return _answers(judgments).select(verdict.alias("verdict")).to_series()


def read_ratings_again(judgments: pl.Series) -> pl.Series:
    """The ratings of texts: 1 to 10 or null, as `ratings.parse_ratings` should have them.

    What stands between each pair of brackets is cut out by splitting; a number off the scale contradicts the others.
    Only plain decimals are numbers: `1e1` and `+7` are not.
    """
    answers = _answers(judgments).with_row_index("row")
    pieces = answers.with_columns(pl.col("answer").str.split("[[").list.slice(1)).explode("answer").drop_nulls()
    numbers = (
        pieces.filter(pl.col("answer").str.contains("]]", literal=True))
        .with_columns(number=pl.col("answer").str.split("]]").list.first().str.strip_chars_start("["))
        .filter(_is_plain_decimal(pl.col("number")))
        .group_by("row")
        .agg(pl.col("number").unique())
        .filter(pl.col("number").list.len() == 1)
        .select("row", rating=pl.col("number").list.first())
    )
    scale = [str(rating) for rating in range(LOWEST, HIGHEST + 1)]
    read = answers.join(numbers, on="row", how="left", maintain_order="left")
    return read.select(pl.when(pl.col("rating").is_in(scale)).then("rating").cast(pl.Int64)).to_series()


def _answers(judgments: pl.Series) -> pl.DataFrame:
    """The texts without what is thought aloud, in one column `answer`."""
    texts = [_answer(text or "") for text in judgments]
    return pl.DataFrame({"answer": texts}, schema={"answer": pl.String})


def _answer(text: str) -> str:
    opened, closed = "<think>", "</think>"
    kept = []
    while opened in text:
        before, _, text = text.partition(opened)
        _, found, rest = text.partition(closed)
        kept.append(before)
        text = rest if found else ""
    whole = " ".join([*kept, text])
    return whole.split(closed)[-1]


def _is_plain_decimal(number: pl.Expr) -> pl.Expr:
    parts = number.str.strip_prefix("-").str.split(".")
    digits = (pl.element() != "") & (pl.element().str.strip_chars("0123456789") == "")
    return (parts.list.len() <= 2) & parts.list.eval(digits).list.all()


def _occurs(literals: tuple[str, ...]) -> pl.Expr:
    return pl.any_horizontal(pl.col("answer").str.contains(literal, literal=True) for literal in literals)
