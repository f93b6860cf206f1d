"""Whether two judges differ, by exact paired tests on the same items.

Belongs here: p-values from counts and differences. Not here: which verdicts are compared (`scores`).
"""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np


def mcnemar_exact(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test: would tosses of a coin differ as much as gained and lost do?

    Verdicts on which both judges agree carry no information and do not enter. The binomial tail is summed from its
    largest term, relative to it, so that nothing overflows at large counts.

    Raises:
        ValueError: a count is negative.
    """
    if min(gained, lost) < 0:
        raise ValueError(f"Counts cannot be negative: {gained} gained, {lost} lost.")
    n, fewer = gained + lost, min(gained, lost)
    log_largest = math.lgamma(n + 1) - math.lgamma(fewer + 1) - math.lgamma(n - fewer + 1) - n * math.log(2)
    term, tail = 1.0, 0.0
    for k in range(fewer, -1, -1):
        tail += term
        term *= k / (n - k + 1)
    return min(1.0, 2 * math.exp(log_largest) * tail)


def sign_flip_exact(differences: Iterable[int]) -> float:
    """Two-sided exact p-value of the sign-flip (permutation) test over clusters.

    If two judges are equally good, the difference between them on one instruction, over all its pairs and both orders,
    is as likely to have the other sign. All 2^k assignments of signs are counted, by convolution instead of by draws,
    so that no seed is needed. Where each instruction has one verdict it is McNemar's exact test.

    Args:
        differences: for each instruction, right verdicts of the one judge minus right verdicts of the other.

    Returns:
        Share of the assignments whose sum lies as far from 0 as the observed one; 0.0 where no double is that small.
    """
    moved = [difference for difference in differences if difference]
    total, observed = sum(map(abs, moved)), abs(sum(moved))
    share_of_sum = np.ones(1)
    for size, count in sorted(Counter(map(abs, moved)).items()):
        heads = np.zeros(count * size + 1)
        heads[::size] = _fair_tosses(count)
        share_of_sum = np.convolve(share_of_sum, heads)
    tail = share_of_sum[: (total - observed) // 2 + 1].sum()
    return min(1.0, 2 * float(tail))


def _fair_tosses(n: int) -> np.ndarray:
    """Probabilities of 0 to n heads in n tosses of a fair coin."""
    log_choices = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(n + 1)]
    return np.exp(np.array(log_choices) - n * math.log(2))
