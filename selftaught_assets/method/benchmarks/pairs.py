"""Formats in which one record is one pair with its label."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from selftaught_assets.method.benchmarks.items import Item, Label, Record, in_turns, label_text, placed, with_ids
from selftaught_assets.method.benchmarks.own import LABEL_AS_GIVEN

JUDGEBENCH_SOURCES = ("mmlu-pro", "livebench-reasoning", "livebench-math", "livecodebench")
"""The four groups that JudgeBench reports; MMLU-Pro's sources go on with the field ("mmlu-pro-law")."""

_SPEAKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def pairs(records: Iterable[Record]) -> Iterator[Item]:
    """Our own form: `id`, `instruction`, `response_a`, `response_b`, `label` (A, B or tie), `subset`, `reference`.

    Case and blanks around a label do not count.
    """
    for record in records:
        yield Item(
            str(record["id"]),
            record["instruction"],
            record["response_a"],
            record["response_b"],
            _among({"A": "A", "B": "B", "TIE": "TIE"}, record["label"]),
            record.get("subset"),
            reference=record.get("reference"),
            label_seen=record.get(LABEL_AS_GIVEN, record["label"]),
        )


def chosen_rejected(records: Iterable[Record]) -> Iterator[Item]:
    """One's own preferences: `id`, `instruction`, `chosen`, `rejected`, and `subset`, `reference` if there are any."""
    for record in records:
        yield placed(
            str(record["id"]),
            record["instruction"],
            record["chosen"],
            record["rejected"],
            subset=record.get("subset"),
            reference=record.get("reference"),
        )


def rewardbench(records: Iterable[Record]) -> Iterator[Item]:
    """RewardBench: `prompt`, `chosen`, `rejected`, `subset` (23 of them), `id` (a number).

    Schema: card of the data set allenai/reward-bench, split `filtered` (2,985 rows); arXiv 2403.13787.
    """
    for item_id, record in with_ids(records, "subset", "id"):
        yield placed(item_id, record["prompt"], record["chosen"], record["rejected"], subset=record["subset"])


def helpsteer2(records: Iterable[Record]) -> Iterator[Item]:
    """HelpSteer2-Preference: `split`, `prompt`, `response_1`, `response_2`, `preference_strength` (-3 to 3, 0 = tie).

    Below zero response 1 is better. Only the validation split (`val`) is a benchmark; the rest is set aside
    (`other_split`). A prompt of several turns names its speakers with `<extra_id_1>`; we lay it out as text.

    Schema: card and file preference/preference.jsonl.gz of the data set nvidia/HelpSteer2; arXiv 2410.01257.
    """
    for number, record in enumerate(records):
        strength = record["preference_strength"]
        is_number = isinstance(strength, int | float) and not isinstance(strength, bool)
        yield Item(
            f"{record['split']}/{number}",
            _without_markers(record["prompt"]),
            record["response_1"],
            record["response_2"],
            _of_sign(strength) if is_number else None,
            record["split"],
            label_seen=strength,
            set_aside=None if record["split"] == "val" else "other_split",
        )


def judgebench(records: Iterable[Record]) -> Iterator[Item]:
    """JudgeBench: `pair_id`, `source`, `question`, `response_A`, `response_B`, `label` (`A>B` or `B>A`).

    Schema: data/*.jsonl of the repository ScalerLab/JudgeBench, and its grouping by source; arXiv 2410.12784.
    """
    labels: dict[str, Label] = {"A>B": "A", "B>A": "B", "A=B": "TIE"}
    for item_id, record in with_ids(records, "pair_id"):
        source = str(record["source"])
        yield Item(
            item_id,
            record["question"],
            record["response_A"],
            record["response_B"],
            _among(labels, record["label"]),
            next((group for group in JUDGEBENCH_SOURCES if source.startswith(group)), source),
            label_seen=record["label"],
        )


def llmbar(records: Iterable[Record]) -> Iterator[Item]:
    """LLMBar: `input`, `output_1`, `output_2`, `label` (1 or 2); the subset is the file's folder (Adversarial/Manual).

    Schema: Dataset/LLMBar/**/dataset.json of the repository princeton-nlp/LLMBar; arXiv 2310.07641.
    """
    count: Counter[str] = Counter()
    for record in records:
        subset = str(record.get("subset") or "llmbar")
        yield Item(
            f"{subset}/{count[subset]}",
            record["input"],
            record["output_1"],
            record["output_2"],
            _among({"1": "A", "2": "B"}, record["label"]),
            subset,
            label_seen=record["label"],
        )
        count[subset] += 1


def _among(labels: dict[str, Label], value: object) -> Label | None:
    known = {label_text(key): label for key, label in labels.items()}
    return known.get(label_text(value))


def _of_sign(strength: int | float) -> Label | None:
    if strength == 0:
        return "TIE"
    return "A" if strength < 0 else "B" if strength > 0 else None  # Neither: not a number (NaN).


def _without_markers(prompt: object) -> object:
    if not isinstance(prompt, str):
        return prompt
    first, *others = _SPEAKER.split(prompt)
    return in_turns([first, *others[1::2]], ["User", *others[::2]])
