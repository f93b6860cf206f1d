"""What was measured as single numbers under stable names, one plot each in the UI.

Belongs here: the names. Not here: what the numbers are (`results`).
"""

from collections.abc import Mapping, Sequence

_NUMBER_NAMES = {
    "n": "verdicts",
    "interval": "accuracy",
    "interval_clustered": "accuracy_clustered",
    "winner_first": "accuracy_winner_first",
    "loser_first": "accuracy_loser_first",
    "invalid": "invalid_share",
}
"""Names of numbers in metadata, where they stand alone and differ from a row's."""

SUBSET_NUMBERS = ("accuracy", "p_vs_seed_clustered")
"""What of a subset is a number by itself, so that benchmarks with many subsets stay readable."""


def flat_numbers(measured: Mapping[str, object]) -> dict[str, int | float]:
    """What `measure` says as numbers under stable names: ends of intervals, subsets and published scores spelled out.

    Wilson's interval of `accuracy` becomes accuracy_low and accuracy_high, other intervals `<name>_low` and
    `<name>_high`, `SUBSET_NUMBERS` of a subset `subset/<name>/accuracy` and so on, a published score
    `published/<name>`. What is None is left out.
    """
    ((_, vote_accuracy),) = measured["vote_accuracy"].items()
    flat = _flat(measured) | {"vote_accuracy": vote_accuracy}
    if measured["winner_first"] is not None and measured["loser_first"] is not None:
        flat["position_bias"] = (measured["winner_first"] - measured["loser_first"]) / 2
    for name, estimate in measured["published"].items():
        flat[f"published/{name}"] = estimate["value"]
        flat |= _ends(f"published/{name}", estimate["interval"])
    for name, part in measured["subsets"].items():
        flat |= {f"subset/{name}/{number}": part[number] for number in SUBSET_NUMBERS if part[number] is not None}
    return flat


def _flat(row: Mapping[str, object]) -> dict[str, int | float]:
    flat: dict[str, int | float] = {}
    for name, value in row.items():
        if isinstance(value, list):
            flat |= _ends(_NUMBER_NAMES.get(name, name), value)
        elif isinstance(value, int | float):
            flat[_NUMBER_NAMES.get(name, name)] = value
    return flat


def _ends(name: str, interval: Sequence[float]) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}
