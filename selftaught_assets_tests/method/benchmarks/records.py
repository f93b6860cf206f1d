"""What tests of several formats share: records in the published schema with texts of our own, and small benchmarks."""

import json
from pathlib import Path

import polars as pl
from hypothesis import strategies as st

from selftaught_assets.method.benchmarks import published_scores
from selftaught_assets_tests.method.tables import Judged, verdicts

BEST_OF_4 = {
    "id": "12",
    "prompt": "Name a prime.",
    "chosen": ["7"],
    "rejected": ["8", "9", "10"],
    "num_correct": 1,
    "num_incorrect": 3,
    "total_completions": 4,
    "models": ["m1", "m2", "m3", "m4"],
    "subset": "Math",
    "additional_metadata": {"category": None, "correct": None, "index": None},
}
TIES = BEST_OF_4 | {"id": "tied:3", "chosen": ["red", "blue"], "rejected": ["loud", "seven", "no"], "subset": "Ties"}

RM_BENCH = {
    "id": "chat/5",
    "prompt": "Name a prime.",
    "chosen": ["7", "It is 7.", "It is **7**."],
    "rejected": ["8", "It is 8.", "It is **8**."],
    "domain": "chat",
}


def conversation(*replies: str) -> list[dict[str, str]]:
    questions = ["Name a prime.", "A larger one."]
    turns = zip(questions, replies, strict=True)
    return [
        {"content": text, "role": role}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


MT_BENCH = {
    "question_id": 81,
    "model_a": "alpaca-13b",
    "model_b": "gpt-4",
    "winner": "model_b",
    "judge": "expert_0",
    "conversation_a": conversation("8", "10"),
    "conversation_b": conversation("7", "11"),
    "turn": 1,
}
MIRRORED = MT_BENCH | {
    "model_a": MT_BENCH["model_b"],
    "model_b": MT_BENCH["model_a"],
    "conversation_a": MT_BENCH["conversation_b"],
    "conversation_b": MT_BENCH["conversation_a"],
}

answers = st.sampled_from(["A", "B", "TIE", None])
labels = st.sampled_from(["A", "B", "TIE"])

VARIANTS = [
    f"{chosen}/{rejected}"
    for chosen in ("concise", "plain", "markdown")
    for rejected in ("concise", "plain", "markdown")
]


def scores_of(form: str, pairs: list[Judged | tuple]) -> dict[str, float]:
    """The format's own scores of these verdicts."""
    return {name: estimate.value for name, estimate in published_scores(form, verdicts(pairs)).items()}


def pairs_of(form: str, judged) -> list[Judged]:
    """A complete small benchmark of a format, each pair made by `judged(**fields)`."""
    if form == "rewardbench2":
        names = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
        four = [judged(subset=name, group=name, instruction=name) for name in names for _ in range(3)]
        ties = [
            judged(subset="Ties", group=group, instruction=group) for group in ("ref:1", "tied:1") for _ in range(3)
        ]
        return four + ties
    if form == "rm_bench":
        domains = ("chat", "math", "code", "safety-refuse", "safety-response")
        return [judged(subset=name, instruction=name, variant=variant) for name in domains for variant in VARIANTS]
    if form == "llmbar":
        return [judged(subset=name) for name in ("llmbar-natural", "llmbar-adver-manual", "llmbar-adver-GPTOut")]
    return [judged() for _ in range(4)]


def winners_and_losers(table: pl.DataFrame) -> list[tuple[str, str]]:
    return [
        (a, b) if label == "A" else (b, a) for a, b, label in table["response_a", "response_b", "label"].iter_rows()
    ]


def winner(table: pl.DataFrame, row: int = 0) -> str:
    cells = table.row(row, named=True)
    return cells[f"response_{cells['label'].lower()}"]


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
