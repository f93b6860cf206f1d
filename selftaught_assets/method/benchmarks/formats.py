"""The formats of benchmarks by name."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from selftaught_assets.method.benchmarks import groups, pairs, people
from selftaught_assets.method.benchmarks.items import Item, Record

FormatName = Literal[
    "pairs",
    "chosen_rejected",
    "rewardbench",
    "rewardbench2",
    "rm_bench",
    "mt_bench",
    "helpsteer2",
    "judgebench",
    "llmbar",
    "pandalm",
]

OWN = ("pairs", "chosen_rejected")
"""Formats of one's own data, whose fields a recipe may map. The others are published, so their names are fixed."""


class Format(NamedTuple):
    """How the records of a benchmark become items."""

    fields: tuple[str, ...]
    """What every record must have; others may be there."""
    items: Callable[[Iterable[Record]], Iterator[Item]]
    has_ties: bool = False


_VOTE = ("question_id", "model_a", "model_b", "winner", "conversation_a", "conversation_b", "turn")
_STRENGTH = ("split", "prompt", "response_1", "response_2", "preference_strength")
_ANNOTATED = ("idx", "motivation_app", "instruction", "input", "response1", "response2")

FORMATS: dict[FormatName, Format] = {
    "pairs": Format(("id", "instruction", "response_a", "response_b", "label"), pairs.pairs, has_ties=True),
    "chosen_rejected": Format(("id", "instruction", "chosen", "rejected"), pairs.chosen_rejected),
    "rewardbench": Format(("prompt", "chosen", "rejected", "subset", "id"), pairs.rewardbench),
    "rewardbench2": Format(("id", "prompt", "chosen", "rejected", "subset"), groups.rewardbench2),
    "rm_bench": Format(("id", "prompt", "chosen", "rejected", "domain"), groups.rm_bench),
    "mt_bench": Format(_VOTE, people.mt_bench, has_ties=True),
    "helpsteer2": Format(_STRENGTH, pairs.helpsteer2, has_ties=True),
    "judgebench": Format(("pair_id", "source", "question", "response_A", "response_B", "label"), pairs.judgebench),
    "llmbar": Format(("input", "output_1", "output_2", "label"), pairs.llmbar),
    "pandalm": Format((*_ANNOTATED, "annotator1", "annotator2", "annotator3"), people.pandalm, has_ties=True),
}
