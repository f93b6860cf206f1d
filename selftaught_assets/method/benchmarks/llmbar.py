"""LLMBar (arXiv 2310.07641, section 4; data: princeton-nlp/LLMBar).

It has a natural set, and adversarial ones whose worse response looks better than it is.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from selftaught_assets.method.benchmarks.items import Format, Item, Label, Record, label_of
from selftaught_assets.method.scoring.accuracy import IS_RIGHT, combined_verdicts, count_by_instruction, counts_within
from selftaught_assets.method.scoring.statistics import Tally, mean_of, ratio

_LABELS: Mapping[Label, int] = {"A": 1, "B": 2}


def items(records: Iterable[Record]) -> Iterator[Item]:
    """Every record is a pair: `input`, `output_1`, `output_2`, `label` (1 or 2).

    The subset is the file's folder (Adversarial/Manual), and the id its number therein.

    Schema: Dataset/LLMBar/**/dataset.json of the repository.
    """
    count: Counter[str] = Counter()
    for record in records:
        subset = str(record.get("subset") or "llmbar")
        yield Item(
            f"{subset}/{count[subset]}",
            record["input"],
            record["output_1"],
            record["output_2"],
            label_of(record["label"], _LABELS),
            subset,
            label_seen=record["label"],
        )
        count[subset] += 1


def tally(verdicts: pl.DataFrame) -> Tally:
    """`natural`, `adversarial` (the unweighted mean of its sets), `average` of all sets, `positional_agreement`.

    Positional agreement is the share of pairs on which both orders favour the same response, rightly or not.

    Args:
        verdicts: benchmark, subset (natural if its name says so, else adversarial), item_id, instruction_id, order,
            label, verdict.
    """
    sets = sorted(verdicts["subset"].unique())
    agree = (pl.col("verdict_ab") == pl.col("verdict_ba")).fill_null(False)
    of_pairs = count_by_instruction(combined_verdicts(verdicts), agreeing=agree.sum(), pairs=pl.len())
    counted = count_by_instruction(verdicts, **counts_within("subset", sets, right=IS_RIGHT))
    accuracy = {name: ratio(f"right {name}", f"n {name}") for name in sets}
    natural = [accuracy[name] for name in sets if "natural" in name.lower()]
    adversarial = [accuracy[name] for name in sets if "natural" not in name.lower()]
    parts = {"natural": natural, "adversarial": adversarial, "average": natural + adversarial}
    figures = {name: mean_of(*of_sets) for name, of_sets in parts.items() if of_sets}
    figures["positional_agreement"] = ratio("agreeing", "pairs")
    return Tally(counted.join(of_pairs, on="instruction_id", validate="1:1"), figures)


FORMAT = Format("llmbar", ("input", "output_1", "output_2", "label"), items, tally)
