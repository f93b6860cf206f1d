"""The items of a benchmark: labelled pairs, how a format declares itself, and the table of what can be scored.

An item is one pair, whatever the format it came in. Readers hand on what a file holds; whether it is text, has a label
or repeats an earlier pair is found out in one place, when the table is made (`item_rows`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import polars as pl

from selftaught_assets.method.identity import derive_seed, draw, is_empty, normalized_instruction, row_ids
from selftaught_assets.method.scoring.statistics import Tally

Record = Mapping[str, object]
"""What one line of a file holds."""

Label = Literal["A", "B", "TIE"]

Ties = Literal["drop", "count"]
"""Whether a tie is dropped, or is an item whose right verdict is a tie."""

DROP_REASONS = (
    "other_split",
    "not_text",
    "empty_text",
    "no_label",
    "equal_responses",
    "duplicate",
    "swapped_duplicate",
    "tie",
    "incomplete_group",
    "not_sampled",
)
"""Why a row cannot be scored. Where several apply, the first in this order is reported.

`other_split`: not of the split that is the benchmark. `not_text`: an instruction or response is missing, or a boolean,
a number, a list. `no_label`: none that the format knows. `equal_responses`: one is said to be better than its equal.
`duplicate`: instruction and responses of an earlier usable row. `swapped_duplicate`: with the responses the other way
round: the same question, since both orders are asked. `incomplete_group`: another pair of its group is unusable.
`not_sampled`: it could be scored, but a sample was asked for that it is not in.
"""

_TEXTS = ("instruction", "response_a", "response_b")
_CELLS = ("subset", "item_id", "group_id", "question", *_TEXTS, "label", "reference", "variant", "label_seen")

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
"""How YAML spells its truth values: a recipe that says `yes` means the word of the file, and holds a truth value."""


class Item(NamedTuple):
    """A labelled pair. Texts are as the file has them: what is no text is found out when the table is made."""

    item_id: str
    instruction: object
    response_a: object
    response_b: object
    label: Label | None
    """None where the record has no label that could be read."""
    subset: object = None
    group_id: str | None = None
    """Items that are scored together share it; None stands for an item of its own."""
    reference: object = None
    """A right answer, where the benchmark has one."""
    variant: str | None = None
    """Style of the winner and of the loser ("plain/markdown"), where a benchmark varies them."""
    question: object = None
    """What its relatives ask as well, where that is not the whole instruction: the first turn of a conversation."""
    set_aside: str | None = None
    """The reason why the format itself does not count this record in."""
    label_seen: object = None
    """What stands instead of a label that could not be read."""


class Format(NamedTuple):
    """How a benchmark is read, and how it is scored."""

    name: str
    """As a recipe gives it."""
    fields: tuple[str, ...]
    """What every record must have; others may be there."""
    items: Callable[[Iterable[Record]], Iterator[Item]]
    """Reads the items out of the records."""
    tally: Callable[[pl.DataFrame], Tally] | None = None
    """Scores the benchmark's own way, beside the accuracy that holds for all; None where it defines no score."""
    has_ties: bool = False
    """Whether an item can be labelled a tie."""
    is_own: bool = False
    """Whether it is for your own data, whose columns a recipe may name; published field names are fixed."""


def is_missing(value: object) -> bool:
    """Whether a cell of a file holds nothing: null, not a number (as pandas writes a gap), or an empty text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def label_text(value: object) -> str | None:
    """A label as text that is the same however files write it; None where there is none.

    Case and white space at the ends do not count. 1, 1.0 and "1.0" are one label: a column of whole numbers with a gap
    in it is often stored as floats. `yes`, `on` and true are one, and so are `no`, `off` and false.
    """
    if is_missing(value):
        return None
    text = str(value).strip().casefold()
    if whole := _WHOLE.fullmatch(text):
        return str(int(whole[1]))
    return "true" if text in _TRUE else "false" if text in _FALSE else text


def label_of(value: object, labels: Mapping[Label, object]) -> Label | None:
    """The label that a value stands for, compared by `label_text`; None if it is none of them, or is no value.

    Args:
        value: of a record's field.
        labels: what A, B and, if there is one, TIE are called in the file.
    """
    text = label_text(value)
    if text is None:
        return None
    return next((label for label, meaning in labels.items() if label_text(meaning) == text), None)


def placed(item_id: str, instruction: object, chosen: object, rejected: object, **more: object) -> Item:
    """An item out of a chosen and a rejected response.

    Where the winner stands is drawn with a seed made of the three texts, and of nothing that tells which of the two
    responses won: so a pair has one place on every machine and in every recipe, and A wins about half of the pairs.
    """
    first, second = sorted((str(chosen), str(rejected)))
    first_in_a = derive_seed("position", str(instruction), first, second) % 2 == 0
    if first_in_a == (str(chosen) == first):
        return Item(item_id, instruction, chosen, rejected, "A", **more)
    return Item(item_id, instruction, rejected, chosen, "B", **more)


def with_ids(records: Iterable[Record], *fields: str) -> Iterator[tuple[str, Record]]:
    """Every record with an id made of these fields ("chat/7"); a repeated one is told apart by its number ("chat/7#2").

    Published files are not the user's to mend, so a repeated id is no error there.
    """
    seen: Counter[str] = Counter()
    for record in records:
        name = "/".join(str(record[field]) for field in fields)
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), record


def texts(value: object) -> list[object] | tuple[object, ...]:
    """The entries of a list of responses; what is no list, or an empty one, is one response."""
    return value if isinstance(value, list | tuple) and value else [None if value == [] else value]


def item_rows(name: str, items: Iterable[Item], *, ties: Ties = "drop", sample: int | None = None) -> pl.DataFrame:
    """The table of one benchmark; rows that no verdict could be right about are kept with their reason.

    A group is dropped as a whole: best of 4 without one of the wrong answers would be another, easier task. So the
    pairs beside an unusable one are `incomplete_group`, and repeated pairs are dropped only where the whole group is
    a repetition.

    Args:
        name: of the benchmark.
        items: in the order of the rows.
        ties: what becomes of a tie.
        sample: how many of the usable rows to keep, see `_sampled`; None keeps all.

    Returns:
        benchmark, subset (the benchmark's name where it has none), item_id, group_id, instruction_id (hash of the
        instruction without differences of case and white space; of the first turn where there are two), instruction,
        response_a, response_b, label (A, B, TIE or null), reference, variant, label_seen (what stands instead of a
        label that could not be read), drop_reason; in the order of the items.
    """
    items = list(items)
    schema = dict.fromkeys(("benchmark", *_CELLS), pl.String)
    rows = pl.DataFrame([_row(name, item) for item in items], schema).with_columns(
        is_text=pl.Series([_is_text(item) for item in items], dtype=pl.Boolean),
        drop_reason=pl.Series([item.set_aside for item in items], dtype=pl.String),
    )
    asked = rows.select(pl.coalesce("question", "instruction", pl.lit("")).alias("asked"))
    asked_ids = row_ids("instruction", asked.select(normalized_instruction("asked")).to_series())
    screened = _unusable(rows).pipe(_repeated).pipe(_of_no_use, ties)
    named = screened.with_columns(pl.Series("instruction_id", asked_ids, dtype=pl.String))
    return (named if sample is None else _sampled(named, sample)).select(
        *("benchmark", "subset", "item_id", "group_id", "instruction_id"),
        *(*_TEXTS, "label", "reference", "variant", "label_seen", "drop_reason"),
    )


def _row(name: str, item: Item) -> dict[str, str | None]:
    cells = item._replace(
        subset=name if is_missing(item.subset) else item.subset,
        group_id=item.group_id or item.item_id,
        reference=None if is_missing(item.reference) else item.reference,
        label_seen=None if item.label is not None else "" if is_missing(item.label_seen) else item.label_seen,
    )._asdict()
    return {"benchmark": name} | {field: None if cells[field] is None else str(cells[field]) for field in _CELLS}


def _is_text(item: Item) -> bool:
    return all(isinstance(text, str) for text in (item.instruction, item.response_a, item.response_b))


def _unusable(rows: pl.DataFrame) -> pl.DataFrame:
    decided = pl.col("label").is_in(["A", "B"])
    reason = (
        pl.when(pl.col("drop_reason").is_not_null())
        .then("drop_reason")
        .when(~pl.col("is_text"))
        .then(pl.lit("not_text"))
        .when(pl.any_horizontal(is_empty(field) for field in _TEXTS))
        .then(pl.lit("empty_text"))
        .when(pl.col("label").is_null())
        .then(pl.lit("no_label"))
        .when(decided & (pl.col("response_a") == pl.col("response_b")))
        .then(pl.lit("equal_responses"))
    )
    return rows.with_columns(drop_reason=reason)


def _repeated(rows: pl.DataFrame) -> pl.DataFrame:
    usable = pl.col("drop_reason").is_null()
    responses = pl.concat_list("response_a", "response_b").list.sort()
    occurrence = pl.int_range(pl.len())
    seen = rows.with_columns(usable=usable, responses=responses).with_columns(
        same=pl.col("usable") & (occurrence.over("usable", *_TEXTS) > 0),
        either=pl.col("usable") & (occurrence.over("usable", "instruction", "responses") > 0),
    )
    reason = pl.when("same").then(pl.lit("duplicate")).otherwise(pl.lit("swapped_duplicate"))
    as_whole = pl.when(pl.col("either").all().over("group_id")).then(reason)
    return seen.with_columns(drop_reason=pl.coalesce("drop_reason", as_whole))


def _of_no_use(rows: pl.DataFrame, ties: Ties) -> pl.DataFrame:
    dropped_tie = (pl.col("label") == "TIE") & pl.lit(ties == "drop")
    rows = rows.with_columns(drop_reason=pl.coalesce("drop_reason", pl.when(dropped_tie).then(pl.lit("tie"))))
    beside_dropped = pl.col("drop_reason").is_not_null().any().over("group_id")
    incomplete = pl.when(beside_dropped).then(pl.lit("incomplete_group"))
    return rows.with_columns(drop_reason=pl.coalesce("drop_reason", incomplete))


def _sampled(rows: pl.DataFrame, sample: int) -> pl.DataFrame:
    """Keeps about `sample` of the usable rows: whole instructions, and of each subset its share.

    Instructions are drawn by what they say, the same ones in every recipe, so that figures can be compared. In each
    subset they stand in the drawn order; what counts is how far through its subset an instruction is, and those that
    come first are kept until there are enough. A smaller sample is a part of a larger one. The last instruction is
    kept whole, so there can be a few rows more.
    """
    usable = pl.col("drop_reason").is_null()
    drawn = (
        rows.filter(usable)
        .group_by("instruction_id")
        .agg(pl.col("subset").first(), size=pl.len(), draw=draw("instruction_id", 0, "benchmark sample").first())
        .sort("subset", "draw")
        .with_columns(through=((pl.col("size").cum_sum() - pl.col("size") / 2) / pl.col("size").sum()).over("subset"))
        .sort("through", "draw")
        .filter(pl.col("size").cum_sum() - pl.col("size") < sample)
    )
    left_out = usable & ~pl.col("instruction_id").is_in(drawn["instruction_id"].to_list())
    return rows.with_columns(drop_reason=pl.when(left_out).then(pl.lit("not_sampled")).otherwise("drop_reason"))
