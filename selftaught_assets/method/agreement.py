"""Agreement with people who may call a tie: MT-Bench, HelpSteer2, PandaLM.

A response wins only if it wins in both orders; otherwise the judge's verdict is a tie (arXiv 2306.05685, section
3.4). A pair with an invalid verdict agrees with nothing.
"""

import polars as pl

from selftaught_assets.method.scoring.accuracy import combined_verdicts, count_by_instruction
from selftaught_assets.method.scoring.statistics import Statistic, Tally, Totals, mean_of, ratio

CLASSES = ("A", "B", "TIE")

_AGREES = (pl.col("verdict") == pl.col("label")).fill_null(False)
_DECIDED = (pl.col("label") != "TIE") & pl.col("verdict").is_in(["A", "B"]).fill_null(False)


def tally(verdicts: pl.DataFrame) -> Tally:
    """The two agreements of MT-Bench (arXiv 2306.05685, section 4.2).

    `agreement_with_ties` (its setup S1): over all pairs, ties and inconsistent verdicts as ties. It has its published
    meaning only where tied labels are counted (recipe: `ties: count`). `agreement_without_ties` (S2): over the pairs on
    which neither the person nor the judge calls a tie, so it says nothing of the others; `decided` is their share.

    Args:
        verdicts: benchmark, subset, item_id (one for each person's vote), instruction_id, order, label, verdict.
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


def tally_of_classes(verdicts: pl.DataFrame) -> Tally:
    """PandaLM's accuracy, precision, recall and F1 (arXiv 2306.05087), the last three as means over labelled classes.

    The classes are first, second and tie; an invalid verdict is none of them. A class that is never named has precision
    and F1 of 0. The published figures are means over all three: count ties (recipe: `ties: count`) to compare. There an
    unreadable verdict is a tie.

    Args:
        verdicts: benchmark, subset, item_id, instruction_id, order, label, verdict.
    """
    pairs = combined_verdicts(verdicts)
    counts: dict[str, pl.Expr] = {"agreeing": _AGREES.sum(), "pairs": pl.len()}
    for name in CLASSES:
        named, labelled = (pl.col("verdict") == name).fill_null(False), pl.col("label") == name
        counts |= {f"both {name}": (named & labelled).sum(), f"named {name}": named.sum()}
        counts[f"labelled {name}"] = labelled.sum()
    classes = [name for name in CLASSES if name in pairs["label"]]
    figures = {
        "accuracy": ratio("agreeing", "pairs"),
        "macro_precision": mean_of(*(_share(f"both {name}", f"named {name}") for name in classes)),
        "macro_recall": mean_of(*(_share(f"both {name}", f"labelled {name}") for name in classes)),
        "macro_f1": mean_of(*(_f1(name) for name in classes)),
    }
    return Tally(count_by_instruction(pairs, **counts), figures)


def _share(part: str, whole: str) -> Statistic:
    """`part / whole`, 0 where both are 0."""
    return lambda totals: totals[part] / totals[whole].clip(min=1)


def _f1(name: str) -> Statistic:
    def harmonic_mean(totals: Totals) -> Totals:
        return 2 * totals[f"both {name}"] / (totals[f"named {name}"] + totals[f"labelled {name}"]).clip(min=1)

    return harmonic_mean
