"""Formats in which several people have voted on a pair."""

from collections.abc import Iterable, Iterator

from selftaught_assets.method.benchmarks.items import Item, Label, Record, in_turns, label_text, majority, with_ids

_PANDALM_LABELS: dict[str, Label] = {"0": "TIE", "1": "A", "2": "B"}
_MIRRORED: dict[Label, Label] = {"A": "B", "B": "A", "TIE": "TIE"}


def mt_bench(records: Iterable[Record]) -> Iterator[Item]:
    """MT-Bench human judgments: `question_id`, `model_a`, `model_b`, `winner`, `turn`, `conversation_a` and `_b`.

    One record is one person's vote; `winner` is `model_a`, `model_b` or begins with `tie`. The votes on a question, a
    pair of models and a turn are one item, whichever way round the models stand, labelled by majority (no majority is a
    tie). The second turn is judged with the first before it. A vote that cannot be read is an item of its own without a
    label, so that it is counted.

    Schema: card of the data set lmsys/mt_bench_human_judgments, split `human` (3,355 votes); arXiv 2306.05685.
    """
    votes: dict[tuple[object, ...], list[Label]] = {}
    firsts: dict[tuple[object, ...], Record] = {}
    unread: list[Record] = []
    for record in records:
        vote = _vote(record["winner"])
        if vote is None:
            unread.append(record)
            continue
        models = sorted((str(record["model_a"]), str(record["model_b"])))
        key = (str(record["question_id"]), *models, str(record["turn"]))
        first = firsts.setdefault(key, record)
        mirrored = record["model_a"] != first["model_a"]
        votes.setdefault(key, []).append(_MIRRORED[vote] if mirrored else vote)
    for key, first in firsts.items():
        yield _compared(first, majority(votes[key]))
    for number, record in enumerate(unread, start=1):
        item = _compared(record, None)
        yield item._replace(item_id=f"{item.item_id}/unread_{number}", label_seen=record["winner"])


def pandalm(records: Iterable[Record]) -> Iterator[Item]:
    """PandaLM: `idx`, `motivation_app`, `instruction`, `input`, `response1`, `response2`, `annotator1` to `annotator3`.

    A person says 1, 2 or 0 (tie). Where all three differ there is no majority, which is a tie; where one of them cannot
    be read, the other two must agree.

    Schema: data/testset-v1.json of the repository WeOpenML/PandaLM; arXiv 2306.05087.
    """
    for item_id, record in with_ids(records, "idx"):
        given = [record[f"annotator{number}"] for number in (1, 2, 3)]
        votes = [_PANDALM_LABELS.get(label_text(vote)) for vote in given]
        read = [vote for vote in votes if vote is not None]
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


def _vote(winner: object) -> Label | None:
    text = label_text(winner) or ""
    return "TIE" if text.startswith("tie") else {"model_a": "A", "model_b": "B"}.get(text)


def _compared(record: Record, label: Label | None) -> Item:
    turn = record["turn"]
    asked, answered_a = _turns(record["conversation_a"], turn)
    _, answered_b = _turns(record["conversation_b"], turn)
    return Item(
        f"{record['question_id']}/{record['model_a']}/{record['model_b']}/turn_{turn}",
        in_turns(asked),
        in_turns(answered_a),
        in_turns(answered_b),
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


def _with_input(instruction: object, given: object) -> object:
    if not isinstance(instruction, str) or not isinstance(given, str):
        return None
    return f"{instruction}\n\nInput:\n{given}" if given else instruction
