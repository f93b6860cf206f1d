"""Tables made by hand: one instruction with its pair and judgments in two iterations, and rows that were dropped."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from selftaught_assets.recipe import Recipe
from selftaught_assets.staleness import Basis, basis_of
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import Provenance, write_table

FIRST, SECOND = "iteration_01", "iteration_02"
SEED, CHECKPOINT = "5eed" * 16, "c4ec" * 16
INSTRUCTION, OTHER, UNSELECTED = "aaaa000000000001", "aaaa000000000002", "aaab000000000003"
PAIR, DROPPED_PAIR = "bbbb000000000001", "bbbb000000000002"
HOSTILE = "[bold]A[/bold]\x1b[2J\u202egnirts\u2066\nsecond line"
"""Markup, an escape sequence that clears the screen, and characters that turn the direction of writing."""

POOL = pl.DataFrame(
    {
        "instruction_id": [INSTRUCTION, OTHER, INSTRUCTION, UNSELECTED],
        "line": [1, 2, 3, 4],
        "pool_id": ["mine-1", "mine-2", "mine-3", "8"],
        "instruction": ["Do this.", "Do that.", "Do this.", "Do nothing."],
        "source": "pool.jsonl",
        "category": None,
        "drop_reason": [None, None, "duplicate", None],
    },
    schema_overrides={"category": pl.String},
)
INSTRUCTIONS = POOL.with_columns(drop_reason=pl.Series([None, None, "duplicate", "not_selected"]))
PAIRS = pl.DataFrame(
    {
        "pair_id": [PAIR, DROPPED_PAIR],
        "instruction_id": [INSTRUCTION, OTHER],
        "instruction": ["Do this.", "Do that."],
        "modified_instruction": [HOSTILE, "Do that."],
        "chosen": [HOSTILE, "done"],
        "rejected": ["", "done"],
        "strategy": "modified_instruction",
        "generator": SEED,
        "chosen_finish": "stop",
        "modified_finish": "stop",
        "rejected_finish": "length",
        "drop_reason": [None, "responses_equal"],
    }
)


def judgments(first: str, judge: str) -> pl.DataFrame:
    """A wrong and a right one of the pair; their ids begin with `first`."""
    return pl.DataFrame(
        {
            "judgment_id": [f"{first}00000000000{number}" for number in range(2)],
            "pair_id": PAIR,
            "sample_index": [0, 1],
            "chosen_position": "A",
            "judge": judge,
            "judgment": ["I say [[B]]", f"{HOSTILE} [[A]]"],
            "verdict": ["B", "A"],
            "is_correct": [False, True],
            "finish_reason": "stop",
            "completion_tokens": 5,
            "drop_reason": None,
        },
        schema_overrides={"drop_reason": pl.String},
    )


def examples(first: str, of: pl.DataFrame) -> pl.DataFrame:
    """The right judgment is kept."""
    return pl.DataFrame(
        {
            "example_id": [f"{first}00000000000{number}" for number in range(2)],
            "judgment_id": of["judgment_id"],
            "pair_id": PAIR,
            "instruction_id": INSTRUCTION,
            "label": of["verdict"],
            "split": "train",
            "drop_reason": ["wrong_verdict", None],
        }
    )


def provenance(
    asset: str, iteration: str | None, version: str, recipe: Recipe | None = None, **made_of: str | None
) -> Provenance:
    """A record as a run of the recipe leaves it, or of one that asked for something else."""
    basis = Basis(code=7, settings={}, made_of=made_of) if recipe is None else basis_of(recipe, asset, made_of)
    sampling = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": []}
    said = {"form": "two_calls", "response": sampling, "modification": sampling | {"temperature": 0.8}}
    return Provenance(
        asset=asset,
        recipe="small",
        partition=iteration,
        data_version=version,
        basis=basis,
        settings={"seed": 7, "pairs": said, "judgments": {"sampling": sampling}},
        run_id="run",
        made_at=datetime(2026, 1, 1, tzinfo=UTC),
        software="0",
        numbers={},
    )


def write_tables(root: Path) -> Layout:
    """All tables of two iterations, without a record of their making."""
    layout = Layout(root, "small")
    write_table(layout.table("instruction_pool"), POOL)
    for number, (iteration, judge) in enumerate(((FIRST, SEED), (SECOND, CHECKPOINT)), start=1):
        write_table(layout.table("instructions", iteration), INSTRUCTIONS)
        write_table(layout.table("pairs", iteration), PAIRS)
        judged = judgments(f"cc{number}c", judge)
        write_table(layout.table("judgments", iteration), judged)
        write_table(layout.table("filtered_set", iteration), examples(f"dd{number}d", judged))
    return layout
