"""LLMBar's scores (arXiv 2310.07641, section 4): the natural set, the adversarial ones, agreement between positions."""

import polars as pl

from selftaught_assets.method.scoring.accuracy import IS_RIGHT, combined_verdicts, count_by_instruction
from selftaught_assets.method.scoring.statistics import Statistic, Tally, mean_of, ratio


def tally(verdicts: pl.DataFrame) -> Tally:
    """`natural`, `adversarial` (the unweighted mean of its sets), `average` of all sets, `positional_agreement`.

    Positional agreement is the share of pairs on which both orders favour the same response, rightly or not.

    Args:
        verdicts: benchmark, subset (natural if its name says so, else adversarial), item_id, instruction_id, order,
            label, verdict.
    """
    sets = sorted(verdicts["subset"].unique())
    counts: dict[str, pl.Expr] = {}
    for name in sets:
        counts[f"right {name}"] = IS_RIGHT.filter(pl.col("subset") == name).sum()
        counts[f"n {name}"] = (pl.col("subset") == name).sum()
    pairs = combined_verdicts(verdicts)
    agree = (pl.col("verdict_ab") == pl.col("verdict_ba")).fill_null(False)
    of_pairs = count_by_instruction(pairs, agreeing=agree.sum(), pairs=pl.len())
    counted = count_by_instruction(verdicts, **counts).join(of_pairs, on="instruction_id", validate="1:1")
    return Tally(counted, _figures(sets))


def _figures(sets: list[str]) -> dict[str, Statistic]:
    natural = [ratio(f"right {name}", f"n {name}") for name in sets if "natural" in name.lower()]
    adversarial = [ratio(f"right {name}", f"n {name}") for name in sets if "natural" not in name.lower()]
    figures = {"natural": mean_of(*natural)} if natural else {}
    if adversarial:
        figures["adversarial"] = mean_of(*adversarial)
    return figures | {
        "average": mean_of(*natural, *adversarial),
        "positional_agreement": ratio("agreeing", "pairs"),
    }
