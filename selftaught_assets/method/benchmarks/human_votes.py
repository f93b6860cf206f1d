"""Benchmarks of human preference, where people may call a tie: MT-Bench, HelpSteer2, PandaLM.

An item's label is what most people say. A judge's verdict on it is what both orders say: a response wins only if it
wins in both, otherwise the verdict is a tie (arXiv 2306.05685, section 3.4). A pair with an invalid verdict agrees with
nothing. Published figures include the pairs that people tied, so compare with them only where ties are counted
(recipe: `ties: count`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from selftaught_assets.method.benchmarks.items import Format, Item, Label, Record, label_of, label_text, with_ids
from selftaught_assets.method.scoring.accuracy import combined_verdicts, count_by_instruction
from selftaught_assets.method.scoring.statistics import Statistic, Tally, mean_of, ratio

_CLASSES = ("A", "B", "TIE")
_MIRRORED: Mapping[Label, Label] = {"A": "B", "B": "A", "TIE": "TIE"}
_MT_BENCH_WINNERS: Mapping[Label, str] = {"A": "model_a", "B": "model_b"}
_PANDALM_LABELS: Mapping[Label, int] = {"A": 1, "B": 2, "TIE": 0}
_PANDALM_PEOPLE = ("annotator1", "annotator2", "annotator3")
_SPEAKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")

_AGREES = (pl.col("verdict") == pl.col("label")).fill_null(False)
_DECIDED = (pl.col("label") != "TIE") & pl.col("verdict").is_in(["A", "B"]).fill_null(False)


def mt_bench(records: Iterable[Record]) -> Iterator[Item]:
    """MT-Bench human judgments: `question_id`, `model_a`, `model_b`, `winner`, `turn`, `conversation_a` and `_b`.

    One record is one person's vote; `winner` is `model_a`, `model_b` or begins with `tie`. The votes on a question, a
    pair of models and a turn are one item, whichever way round the models stand, labelled by majority (no majority is a
    tie). The second turn is judged with the first before it. A vote that cannot be read is an item of its own without a
    label, so that it is counted.

    Schema: card of the data set lmsys/mt_bench_human_judgments, split `human` (3,355 votes); arXiv 2306.05685.
    """
    voted: dict[tuple[str, ...], tuple[Record, list[Label]]] = {}
    unread: list[Record] = []
    for record in records:
        vote = _vote(record["winner"])
        if vote is None:
            unread.append(record)
            continue
        models = sorted((str(record["model_a"]), str(record["model_b"])))
        key = (str(record["question_id"]), *models, str(record["turn"]))
        first, votes = voted.setdefault(key, (record, []))
        votes.append(vote if record["model_a"] == first["model_a"] else _MIRRORED[vote])
    for first, votes in voted.values():
        yield _compared(first, majority(votes))
    for number, record in enumerate(unread, start=1):
        item = _compared(record, None)
        yield item._replace(item_id=f"{item.item_id}/unread_{number}", label_seen=record["winner"])


def helpsteer2(records: Iterable[Record]) -> Iterator[Item]:
    """HelpSteer2-Preference: `split`, `prompt`, `response_1`, `response_2`, `preference_strength` (-3 to 3, 0 = tie).

    Below zero response 1 is better. Only the validation split (`val`) is a benchmark; the rest is set aside
    (`other_split`). A prompt of several turns names its speakers with `<extra_id_1>`; we lay it out as text.

    Schema: card and file preference/preference.jsonl.gz of the data set nvidia/HelpSteer2; arXiv 2410.01257.
    """
    for number, record in enumerate(records):
        yield Item(
            f"{record['split']}/{number}",
            _without_markers(record["prompt"]),
            record["response_1"],
            record["response_2"],
            _of_sign(record["preference_strength"]),
            record["split"],
            label_seen=record["preference_strength"],
            set_aside=None if record["split"] == "val" else "other_split",
        )


def pandalm(records: Iterable[Record]) -> Iterator[Item]:
    """PandaLM: `idx`, `motivation_app`, `instruction`, `input`, `response1`, `response2`, `annotator1` to `annotator3`.

    A person says 1, 2 or 0 (tie). Where all three differ there is no majority, which is a tie; where one of them cannot
    be read, the other two must agree.

    Schema: data/testset-v1.json of the repository WeOpenML/PandaLM; arXiv 2306.05087.
    """
    for item_id, record in with_ids(records, "idx"):
        given = [record[person] for person in _PANDALM_PEOPLE]
        read = [vote for vote in (label_of(vote, _PANDALM_LABELS) for vote in given) if vote is not None]
        decided = len(read) == 3 or (len(read) == 2 and read[0] == read[1])
        yield Item(
            item_id,
            _with_input(record["instruction"], record["input"]),
            record["response1"],
            record["response2"],
            majority(read) if decided else None,
            record["motivation_app"],
            label_seen=", ".join(map(str, given)),
        )


def agreement_tally(verdicts: pl.DataFrame) -> Tally:
    """The two agreements of MT-Bench (arXiv 2306.05685, section 4.2).

    `agreement_with_ties` (its setup S1): over all pairs, ties and inconsistent verdicts as ties.
    `agreement_without_ties` (S2): over the pairs on which neither the people nor the judge call a tie, so it says
    nothing of the others; `decided` is their share.

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict.
    """
    counts = count_by_instruction(
        combined_verdicts(verdicts),
        agreeing=_AGREES.sum(),
        agreeing_decided=(_AGREES & _DECIDED).sum(),
        decided=_DECIDED.sum(),
        pairs=pl.len(),
    )
    figures = {
        "agreement_with_ties": ratio("agreeing", "pairs"),
        "agreement_without_ties": ratio("agreeing_decided", "decided"),
        "decided": ratio("decided", "pairs"),
    }
    return Tally(counts, figures)


def class_tally(verdicts: pl.DataFrame) -> Tally:
    """PandaLM's accuracy, precision, recall and F1 (arXiv 2306.05087), the last three as means over labelled classes.

    The classes are first, second and tie, all three in the published figures. An invalid verdict is none of them; there
    it is a tie. A class that is never named has precision and F1 of 0.

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict.
    """
    pairs = combined_verdicts(verdicts)
    counts: dict[str, pl.Expr] = {"agreeing": _AGREES.sum(), "pairs": pl.len()}
    for name in _CLASSES:
        named, labelled = (pl.col("verdict") == name).fill_null(False), pl.col("label") == name
        counts |= {f"both {name}": (named & labelled).sum(), f"named {name}": named.sum()}
        counts[f"labelled {name}"] = labelled.sum()
    classes = [name for name in _CLASSES if name in pairs["label"]]
    figures = {
        "accuracy": ratio("agreeing", "pairs"),
        "macro_precision": mean_of(*(_share(f"both {name}", f"named {name}") for name in classes)),
        "macro_recall": mean_of(*(_share(f"both {name}", f"labelled {name}") for name in classes)),
        "macro_f1": mean_of(*(_f1(name) for name in classes)),
    }
    return Tally(count_by_instruction(pairs, **counts), figures)


def majority(votes: Iterable[Label]) -> Label:
    """What most people say: A or B where it has more votes than each of the others, else a tie."""
    ranked = Counter(votes).most_common(2)
    return "TIE" if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def _vote(winner: object) -> Label | None:
    return "TIE" if (label_text(winner) or "").startswith("tie") else label_of(winner, _MT_BENCH_WINNERS)


def _compared(record: Record, label: Label | None) -> Item:
    turn = record["turn"]
    asked, answered_a = _turns(record["conversation_a"], turn)
    _, answered_b = _turns(record["conversation_b"], turn)
    return Item(
        f"{record['question_id']}/{record['model_a']}/{record['model_b']}/turn_{turn}",
        _in_turns(asked),
        _in_turns(answered_a),
        _in_turns(answered_b),
        label,
        f"turn_{turn}",
        question=asked[0] if asked else None,
    )


def _turns(conversation: object, turn: object) -> tuple[list[object], list[object]]:
    """What the user and the assistant say in turns 1 to `turn`; nothing of a conversation that lacks one of them."""
    turn = int(turn) if isinstance(turn, float) and turn.is_integer() else turn
    messages = [m for m in conversation if isinstance(m, dict)] if isinstance(conversation, list) else []
    if not isinstance(turn, int) or not 0 < 2 * turn <= len(messages):
        return [], []
    contents = [message.get("content") for message in messages[: 2 * turn]]
    return contents[::2], contents[1::2]


def _of_sign(strength: object) -> Label | None:
    if isinstance(strength, bool) or not isinstance(strength, int | float) or strength != strength:
        return None
    return "TIE" if strength == 0 else "A" if strength < 0 else "B"


def _without_markers(prompt: object) -> object:
    if not isinstance(prompt, str):
        return prompt
    first, *others = _SPEAKER.split(prompt)
    return _in_turns([first, *others[1::2]], ["User", *others[::2]])


def _in_turns(turns: Sequence[object], names: Sequence[str] | None = None) -> object:
    """The turns of a conversation as one text, each under its name; one alone needs none. None if one is no text."""
    if not turns or not all(isinstance(turn, str) for turn in turns):
        return None
    if len(turns) == 1:
        return turns[0]
    names = names or [f"Turn {number}" for number in range(1, len(turns) + 1)]
    return "\n\n".join(f"{name}:\n{turn}" for name, turn in zip(names, turns, strict=True))


def _with_input(instruction: object, given: object) -> object:
    if not isinstance(instruction, str) or not isinstance(given, str):
        return None
    return f"{instruction}\n\nInput:\n{given}" if given else instruction


def _share(part: str, whole: str) -> Statistic:
    """`part / whole`, 0 where both are 0."""
    return lambda totals: totals[part] / totals[whole].clip(min=1)


def _f1(name: str) -> Statistic:
    both, named, labelled = (f"{count} {name}" for count in ("both", "named", "labelled"))
    return lambda totals: 2 * totals[both] / (totals[named] + totals[labelled]).clip(min=1)


_VOTE = ("question_id", "model_a", "model_b", "winner", "conversation_a", "conversation_b", "turn")
_STRENGTH = ("split", "prompt", "response_1", "response_2", "preference_strength")
_ANNOTATED = ("idx", "motivation_app", "instruction", "input", "response1", "response2", *_PANDALM_PEOPLE)

MT_BENCH = Format("mt_bench", _VOTE, mt_bench, agreement_tally, has_ties=True)
HELPSTEER2 = Format("helpsteer2", _STRENGTH, helpsteer2, agreement_tally, has_ties=True)
"""It publishes no score for judges, so it has those of MT-Bench."""
PANDALM = Format("pandalm", _ANNOTATED, pandalm, class_tally, has_ties=True)
