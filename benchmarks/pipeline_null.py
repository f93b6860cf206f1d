"""The whole `judgments` stage but for the model: an engine that answers at once, 20,000 pairs × 15 judgments.

Prompts are rendered and encoded with the demo's template and tokenizer, completions go through the journal on disk,
verdicts are parsed, the table is written. Beside it a pipeline of distilabel 1.5.3 does TextGeneration with a language
model that answers at once (benchmarks/distilabel_null.py), in a virtual environment of its own: `make
bench-distilabel` makes it. Without that environment it is left out. Mark: ratio ≥ 3.
"""

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import date as Date
from pathlib import Path

import polars as pl

from benchmarks.measuring import Result, Side, compared, in_process, peak_gib
from selftaught_assets.engines.protocol import Completion, Prompt, Request
from selftaught_assets.recipe.engines import TEMPLATE_DATE

PAIRS = 20_000
JUDGMENTS = 15
DISTILABEL = Path(__file__).resolve().parent.parent / ".venv-distilabel" / "bin" / "python"
ANSWER = "I compared both responses to the instruction, and the first one does what it asks. [[A]]"


class NullEngine:
    """Answers at once, always the same."""

    model_digest = identity = "null"
    capacity = 1024

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def render(self, messages: list[dict[str, str]], date: Date = TEMPLATE_DATE, *_: object) -> Prompt:
        from selftaught_assets.engines import chat

        return chat.render(self._tokenizer, messages, date)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        for request in requests:
            for index in request.sample_indices:
                yield Completion(request.request_id, index, ANSWER, "stop", len(request.prompt.token_ids), 20)

    def close(self) -> None:
        pass


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Judgments per second of both sides, each round in a process of its own."""
    if not DISTILABEL.is_file():
        print(f"{DISTILABEL} is not there: `make bench-distilabel` makes it. pipeline_null is left out.")
        return {}
    pairs = 200 if small else PAIRS
    ours, theirs = Side("ours", [], "judgments/s"), Side("distilabel 1.5.3", [], "judgments/s")
    for _ in range(rounds):
        ours.numbers.append(in_process("benchmarks.pipeline_null", pairs)["rate"])
        done = in_process("benchmarks.distilabel_null", pairs, JUDGMENTS, python=str(DISTILABEL))
        theirs.numbers.append(done["rate"])
    return {"pipeline_null": compared(ours, theirs, pairs * JUDGMENTS)}


def measure(pairs: int) -> dict[str, float]:
    """Judgments per second, and what each step took in seconds."""
    from selftaught_assets.engines.asking import judge_tasks
    from selftaught_assets.engines.journalled import generate
    from selftaught_assets.method.judging import judging_requests, judgments_table
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.journal import Journal

    recipe = load_recipe("demo")
    engine = NullEngine(recipe.seed_model)
    table = generated_pairs(pairs)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        requests = judging_requests(table, positions="random", seed=1)
        tasks = judge_tasks(recipe, requests, JUDGMENTS)
        asked = time.perf_counter()
        answers = generate(engine, Journal(Path(folder) / "journal"), tasks, recipe.judgments.sampling, lambda _: None)
        sampled = time.perf_counter()
        judgments = judgments_table(requests, answers.frame, judge=engine.model_digest)
        parsed = time.perf_counter()
        judgments.write_parquet(Path(folder) / "judgments.parquet")
        ended = time.perf_counter()
    if judgments.height != pairs * JUDGMENTS or judgments["verdict"].unique().to_list() != ["A"]:
        raise RuntimeError("Rows or verdicts are missing.")
    return {
        "rate": judgments.height / (ended - started),
        "requests": asked - started,
        "journal": sampled - asked,
        "table": parsed - sampled,
        "file": ended - parsed,
        "peak_gib": peak_gib(),
    }


def generated_pairs(pairs: int) -> pl.DataFrame:
    """Pairs of the tiny world's kind, as many as wanted."""
    numbers = pl.int_range(pairs, eager=True).cast(pl.String)
    return pl.DataFrame(
        {
            "pair_id": [f"{number:016x}" for number in range(pairs)],
            "instruction": "Sort the numbers up : 27 19 24 " + numbers,
            "chosen": "19 24 27 " + numbers,
            "rejected": "27 24 19 " + numbers,
            "drop_reason": pl.Series([None] * pairs, dtype=pl.String),
        }
    )


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
