"""Rejection, split, balance, account and label check over 1,000,000 pairs with 15 judgments each.

The table is generated: of each pair every judgment is right with a probability of its own, some are invalid. Each size
runs in a process of its own, whose peak memory is taken. Marks: 60 s and 6 GiB; ten times the rows in at most eleven
times the time.
"""

import json
import sys
import time

import polars as pl

from benchmarks.measuring import Result, Side, compared, in_process, peak_gib

PAIRS = 1_000_000
JUDGMENTS = 15
MARK_SECONDS = 60.0


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Measures a tenth of the size and the whole of it, in turn."""
    pairs = 2_000 if small else PAIRS
    tenth, whole = [], []
    for _ in range(1 if small else min(rounds, 2)):
        tenth.append(in_process("benchmarks.data_plane", pairs // 10))
        whole.append(in_process("benchmarks.data_plane", pairs))
    print(f"peak memory {max(one['peak_gib'] for one in whole):.2f} GiB, {whole[0]['kept']:,} examples kept")
    ours = Side("1,000,000 pairs", [one["seconds"] for one in whole], "s")
    part = Side("a tenth of them", [one["seconds"] for one in tenth], "s")
    mark = Side("mark", [MARK_SECONDS], "s")
    n = pairs * JUDGMENTS
    return {"data_plane": compared(ours, mark, n), "data_plane_growth": compared(ours, part, n)}


def measure(pairs: int) -> dict[str, float]:
    """Seconds, peak memory in GiB, and examples kept."""
    from selftaught_assets.assets.family import account
    from selftaught_assets.checks.results import validate
    from selftaught_assets.checks.rules import Subject
    from selftaught_assets.checks.suites.filtered_set import label_balance
    from selftaught_assets.method.training_set import assign_split, balance_labels, select_examples
    from selftaught_assets.recipe import load_recipe
    from selftaught_assets.storage.layout import Layout

    judgments = generate(pairs)
    started = time.perf_counter()
    drawn = select_examples(judgments, keep="correct", seed=1).rename({"verdict": "label"})
    table = balance_labels(assign_split(drawn, validation_share=0.1, seed=1), seed=1)
    accounts = account(table, judgments.height)
    recipe = load_recipe("demo")
    suite = label_balance(recipe)
    shown = table.with_columns(example_id="judgment_id", completion="judgment_id")
    subject = Subject({"filtered_set": shown}, Layout.of(recipe), "iteration_01")
    broken = [finding for finding in validate(suite, suite.rows(subject)).findings if not finding.passed]
    took = time.perf_counter() - started
    if broken:
        raise RuntimeError(f"The check found {broken}.")
    labels = table.filter(pl.col("drop_reason").is_null()).group_by("label").len()["len"]
    if labels.n_unique() != 1:
        raise RuntimeError(f"Labels are not balanced: {labels.to_list()}.")
    return {"seconds": took, "peak_gib": peak_gib(), "kept": accounts.kept}


def generate(pairs: int) -> pl.DataFrame:
    """A table of judgments without texts: what these steps read."""
    import numpy as np

    draws = np.random.default_rng(0)
    rows = pairs * JUDGMENTS
    pair_ids = pl.Series(draws.integers(0, 2**63, pairs, dtype=np.uint64))
    right = draws.random(rows) < np.repeat(draws.beta(2, 2, pairs), JUDGMENTS)
    frame = pl.DataFrame(
        {
            "pair": np.repeat(np.arange(pairs, dtype=np.uint32), JUDGMENTS),
            "judgment": draws.integers(0, 2**63, rows, dtype=np.uint64),
            "sample_index": np.tile(np.arange(JUDGMENTS, dtype=np.int64), pairs),
            "right": right,
            "valid": draws.random(rows) < 0.95,
            "a": np.repeat(draws.random(pairs) < 0.5, JUDGMENTS),
        }
    )
    position = pl.when("a").then(pl.lit("A")).otherwise(pl.lit("B"))
    says_a = pl.col("a") == pl.col("right")
    return frame.select(
        judgment_id=pl.col("judgment").map_batches(_as_hex, return_dtype=pl.String),
        pair_id=_as_hex(pair_ids).gather(frame["pair"]),
        instruction_id=_as_hex(pair_ids // 2).gather(frame["pair"]),
        sample_index="sample_index",
        chosen_position=position,
        verdict=pl.when("valid").then(pl.when(says_a).then(pl.lit("A")).otherwise(pl.lit("B"))),
        is_correct=pl.col("right") & pl.col("valid"),
        finish_reason=pl.lit("stop"),
    )


def _as_hex(numbers: pl.Series) -> pl.Series:
    """Row ids as `identity.row_id` makes them."""
    return pl.Series([f"{number:016x}" for number in numbers.to_list()], dtype=pl.String)


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
