"""`selftaught judge`: verdicts on the pairs of a file. Not here: reading and judging them (selftaught_assets/judge)."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.common import RecipeOption, errors
from selftaught_assets.commands.judges import DEFAULT_JUDGE, EngineOption, JudgeOption, load_quietly, shown_progress
from selftaught_assets.errors import UserError


def judge(
    pairs: Annotated[
        Path,
        typer.Argument(
            help="JSONL, Parquet or CSV with instruction, response_a and response_b; - is JSONL from standard input.",
            allow_dash=True,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File for the same rows with their verdicts; - is JSONL.")
    ],
    judge: JudgeOption = DEFAULT_JUDGE,
    recipe: RecipeOption = "demo",
    engine: EngineOption = None,
    votes: Annotated[
        int, typer.Option(min=1, max=1024, help="Judgments in each order, at most; 1 is a single greedy one.")
    ] = 32,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Judge with the responses swapped as well, and pool the votes.")
    ] = False,
    abstain_below: Annotated[
        float,
        typer.Option(min=0, max=1, help="Mark verdicts of a smaller confidence as abstained; casts all votes."),
    ] = 0.0,
    judgments: Annotated[bool, typer.Option("--judgments", help="Write the judgments themselves, too.")] = False,
) -> None:
    """Compare the two responses of every pair in a file. What was sampled before is not sampled again.

    A line that cannot be judged is reported with its number, here and in the field `error` of its row; the rest is
    judged all the same, and the exit status is 1.
    """
    import polars as pl

    from selftaught_assets.judge.files import read_pairs, require_no_clash, require_suffix, write_verdicts
    from selftaught_assets.judge.judge import PAIR_FIELDS

    _require_writable(output, pairs)
    require_suffix(output)
    read = read_pairs(pairs)
    require_no_clash(read, judgments=judgments)
    for row in read.rows:
        if row.error:
            _complain(pairs, row.number, row.error)
    with load_quietly(judge, recipe, engine) as loaded, shown_progress(errors) as show:
        judged = loaded.compare_many(
            read.texts(),
            votes=votes,
            both_orders=both_orders,
            abstain_below=abstain_below,
            judgments=judgments,
            on_progress=show,
        )
    for row, error in zip(read.rows, judged["error"], strict=True):
        if error and not row.error:
            _complain(pairs, row.number, error)
    reasons = [row.error or error for row, error in zip(read.rows, judged["error"], strict=True)]
    verdicts = judged.drop(PAIR_FIELDS).with_columns(pl.Series("error", reasons, dtype=pl.String))
    write_verdicts(output, read, verdicts)
    failed = verdicts.height - verdicts["error"].null_count()
    invalid, abstained = int((verdicts["verdict"] == "INVALID").sum()), int(verdicts["abstained"].sum())
    errors.print(
        f"{verdicts.height - failed:,} of {verdicts.height:,} pairs judged by {escape(loaded.name)}"
        + (f", {invalid:,} without a valid verdict" if invalid else "")
        + (f", {abstained:,} abstained" if abstained else "")
        + (f"; {failed:,} failed, see `error`" if failed else ""),
        highlight=False,
        soft_wrap=True,
    )
    if failed:
        raise typer.Exit(1)


def _require_writable(output: Path, pairs: Path) -> None:
    if str(output) == "-":
        return
    if output.is_dir():
        raise UserError(f"{output} is a folder: name a file to write the verdicts to.")
    if not output.resolve().parent.is_dir():
        raise UserError(f"The folder of {output} does not exist: make it, or name another file.")
    if output.exists() and pairs.exists() and output.samefile(pairs):
        raise UserError(f"{output} is the file of the pairs: name another file to write the verdicts to.")


def _complain(pairs: Path, number: int, error: str) -> None:
    errors.print(f"{escape(str(pairs))}, line {number}: {escape(error)}", highlight=False, soft_wrap=True)
