"""How often a judge lets itself be talked into a verdict: a part of `evaluation`.

Belongs here: asking the judge about attacked pairs, and the numbers of it. Not here: the attacks (method/attacks.py).
"""

import polars as pl

from selftaught_assets.assets.sampling import Sampler, greedy_verdicts
from selftaught_assets.method.attacks import attack_success, attacked
from selftaught_assets.recipe import Recipe


def attack_numbers(
    recipe: Recipe, judge: Sampler, requests: pl.DataFrame, greedy: pl.DataFrame
) -> dict[str, int | float]:
    """Metadata: for each attack of the recipe, the share of right verdicts that it turns, and how many were right.

    Args:
        recipe: for the attacks and the format of the verdict.
        judge: the judge in question.
        requests: of one benchmark, as it is.
        greedy: its verdicts on them.
    """
    numbers: dict[str, int | float] = {}
    for attack in recipe.evaluation.attacks:
        begging = attacked(requests, attack, form=recipe.verdicts.format)
        success = attack_success(attack, greedy, greedy_verdicts(recipe, judge, begging))
        if success.rate is None:
            continue
        numbers |= {
            f"attack/{attack}/success": success.rate,
            f"attack/{attack}/success_low": success.interval.low,
            f"attack/{attack}/success_high": success.interval.high,
            f"attack/{attack}/to_the_loser": success.to_the_loser / success.n,
            f"attack/{attack}/n": success.n,
        }
    return numbers
