"""The commands that use a judge: `judge` for the pairs of a file, `serve` for HTTP, `export` for a folder."""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from selftaught_assets.commands.console import RecipeOption, errors, on_this_machine
from selftaught_assets.commands.stopping import Stopped, keeps_what_was_sampled
from selftaught_assets.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from selftaught_assets.judge import Judge
    from selftaught_assets.judge.answers import VotingProgress


PLAIN_LINE_SECONDS = 10.0

JudgeOption = Annotated[
    str,
    typer.Option(
        "--judge",
        help="`newest`, `seed`, an iteration such as iteration_03, or the folder of a checkpoint, adapter or model.",
    ),
]
JudgeRecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        help="A recipe's name, or the path of a .yaml file; demo by default. An exported judge and the folder of a "
        "model need none.",
        show_default=False,
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="Instead of the recipe's engine: transformers, vllm, auto, or a mapping such as "
        "'{name: openai, address: http://127.0.0.1:8000/v1, model: seed, identity: seed-v1}'.",
        show_default=False,
    ),
]
DEFAULT_JUDGE = "newest"


def load_quietly(what: str, recipe: str | None, engine: str | None) -> "Judge":
    """Loads a judge without the progress bars and warnings of `transformers`; says what there is to know about it."""
    from transformers.utils import logging

    from selftaught_assets.judge import Caution, Judge

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Caution)
        judge = Judge.load(what, recipe, engine=engine)
    print_caution(judge.caution)
    return judge


def print_caution(caution: str | None) -> None:
    """Prints what users of a judge should know about it."""
    if caution is not None:
        errors.print(f"[yellow]Note:[/] {escape(caution)}", highlight=False, soft_wrap=True)


@contextmanager
def shown_progress(console: "Console") -> "Iterator[Callable[[VotingProgress], None]]":
    """Shows how far judging is: a bar on a terminal, else a plain line every ten seconds."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("judging"), BarColumn(), TextColumn("{task.fields[detail]}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging", total=None, detail="")
        last_line = time.monotonic()

        def show(now: "VotingProgress") -> None:
            nonlocal last_line
            detail = (
                f"{now.settled:,} of {now.questions:,} pairs, {now.judgments:,} judgments, "
                f"{now.tokens_per_second:,.0f} tokens/s"
            )
            bar.update(task, total=now.questions, completed=now.settled, detail=detail)
            if not console.is_terminal and time.monotonic() - last_line >= PLAIN_LINE_SECONDS:
                last_line = time.monotonic()
                console.print(f"judging: {detail}", highlight=False, soft_wrap=True)

        yield show


def judge(
    pairs: Annotated[
        Path,
        typer.Argument(
            callback=on_this_machine,
            help="JSONL, Parquet or CSV with instruction, response_a and response_b, and pair_id and reference if any; "
            "- is JSONL from standard input.",
            allow_dash=True,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            callback=on_this_machine,
            help="File for the same rows with their verdicts; - is JSONL.",
        ),
    ],
    judge: JudgeOption = DEFAULT_JUDGE,
    recipe: JudgeRecipeOption = None,
    engine: EngineOption = None,
    votes: Annotated[
        int, typer.Option(min=1, max=1024, help="Judgments in each order, at most; 1 is a single greedy one.")
    ] = 32,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Judge with the responses swapped as well, and pool the votes.")
    ] = False,
    abstain_below: Annotated[
        float,
        typer.Option(min=0, max=1, help="Mark verdicts with a lower confidence as abstained; casts all votes."),
    ] = 0.0,
    judgments: Annotated[bool, typer.Option("--judgments", help="Also write the judgments themselves.")] = False,
) -> None:
    """Compare the two responses of every pair in a file. Nothing is sampled twice.

    A line that cannot be judged is reported with its number, here and in the field `error` of its row; the rest is
    judged anyway, and the exit status is 1.
    """
    import polars as pl

    from selftaught_assets.judge.pair_files import read_pairs, require_no_clash, require_suffix, write_verdicts

    require_suffix(output)
    _require_place(output, pairs)
    read = read_pairs(pairs)
    require_no_clash(read, judgments=judgments)
    texts = read.texts()
    for row in read.rows:
        if row.error:
            _complain(pairs, row.number, row.error)
    with keeps_what_was_sampled(), load_quietly(judge, recipe, engine) as loaded, shown_progress(errors) as show:
        judged = loaded.compare_many(
            texts,
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
    verdicts = judged.drop(texts.columns).with_columns(pl.Series("error", reasons, dtype=pl.String))
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


def _require_place(output: Path, pairs: Path) -> None:
    from selftaught_assets.storage.files import require_writable

    if str(output) == "-":
        return
    if output.is_dir():
        raise UserError(f"{output} is a folder: name a file to write the verdicts to.")
    if not output.resolve().parent.is_dir():
        raise UserError(f"The folder of {output} does not exist: create it, or name another file.")
    if output.exists() and pairs.exists() and output.samefile(pairs):
        raise UserError(f"{output} is the input file: name another file to write the verdicts to.")
    require_writable(output)


def _complain(pairs: Path, number: int, error: str) -> None:
    errors.print(f"{escape(str(pairs))}, line {number}: {escape(error)}", highlight=False, soft_wrap=True)


LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERY_ADDRESS = ("0.0.0.0", "::")


def serve(
    judge: JudgeOption = DEFAULT_JUDGE,
    recipe: JudgeRecipeOption = None,
    engine: EngineOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token_env: Annotated[
        str | None, typer.Option(help="Name of the environment variable with the bearer token that clients must send.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A host name by which clients ask for the service, beside localhost and --host; may be repeated. "
            "*.example.com is every name below that one."
        ),
    ] = None,
    rate_limit: Annotated[
        float, typer.Option(min=0.1, help="Requests per second for each client; bursts of twice as many.")
    ] = 100.0,
    size_limit: Annotated[int, typer.Option(min=1, help="Largest request body, in kB.")] = 1024,
    time_limit: Annotated[
        float, typer.Option(min=1, help="Seconds after which a question is given up, with status 504.")
    ] = 300.0,
    stop_limit: Annotated[
        int, typer.Option(min=0, help="Seconds for the questions in flight when the service is told to stop.")
    ] = 60,
    trust_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose X-Forwarded-For is believed; may be repeated. "
            "Without it, clients behind a proxy share one rate limit."
        ),
    ] = None,
) -> None:
    """Serve a judge over HTTP: /v1/compare, /v1/score, /health, /ready, /metrics; /docs describes them."""
    try:
        from selftaught_assets.judge.guards import AllowedHosts
        from selftaught_assets.judge.server import Limits, network, possible_connections, server_of
        from selftaught_assets.judge.service import build_app
    except ImportError as error:
        raise UserError(
            f"`selftaught serve` needs the package {error.name}: install selftaught-assets[serve]."
        ) from None

    token = None if token_env is None else os.environ.get(token_env, "").strip()
    if token == "":
        raise UserError(f"The environment variable {token_env} holds no token: set it, or drop --token-env.")
    if token is None and host not in LOOPBACK:
        errors.print(
            f"Warning: anyone who can reach {escape(host)} can use this service; --token-env requires a token.",
            highlight=False,
            soft_wrap=True,
        )
    limits = Limits(connections=possible_connections(), stop_seconds=stop_limit)
    proxies = [network(address) for address in trust_proxy or []]
    hosts = AllowedHosts([*LOOPBACK, host, *(allow_host or [])], addresses=host in EVERY_ADDRESS)
    with load_quietly(judge, recipe, engine) as loaded:
        app = build_app(
            loaded,
            token=token,
            rate=rate_limit,
            burst=max(1, round(2 * rate_limit)),
            most_bytes=1024 * size_limit,
            body_seconds=limits.body_seconds,
            answer_seconds=time_limit,
            most_requests=limits.connections,
            hosts=hosts,
        )
        errors.print(f"Judge {escape(loaded.name)} ({loaded.digest[:12]}) is loaded.", highlight=False, soft_wrap=True)
        with suppress(Stopped, KeyboardInterrupt):  # uvicorn raises the signal again after it has shut down in order.
            server_of(app, host, port, limits, proxies).run()


def export(
    judge: Annotated[
        str, typer.Argument(help="`newest`, `seed`, an iteration such as iteration_03, or a checkpoint's folder.")
    ],
    folder: Annotated[Path, typer.Argument(callback=on_this_machine, help="Folder to write; it must be new or empty.")],
    merge: Annotated[bool, typer.Option("--merge", help="Write full weights instead of the adapter.")] = False,
    recipe: RecipeOption = "demo",
) -> None:
    """Write a judge as a Hugging Face folder: weights, tokenizer, chat template, prompts and a model card."""
    from transformers.utils import logging

    from selftaught_assets.judge.export import export_judge
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    logging.disable_progress_bar()
    loaded = load_recipe(recipe)
    found = export_judge(judge, folder, loaded, Layout.of(loaded), merge=merge)
    print_caution(found.caution)
    errors.print(
        f"{escape(found.name)} ({found.model.digest[:12]}) is in {escape(str(folder))}.",
        highlight=False,
        soft_wrap=True,
    )
