"""What sampling costs: its account in tokens, seconds and money, and the price of each example that it keeps."""

from typing import NamedTuple

Account = dict[str, int | float | str]
"""What a stage sampled, by the names in `ACCOUNT`; what is not known is left out."""

ACCOUNT = (
    "requests",
    "completions",
    "completions_sampled",
    "completions_failed",
    "completions_eliciting",
    "prompt_tokens",
    "shared_prompt_tokens",
    "completion_tokens",
    "prompt_tokens_eliciting",
    "completion_tokens_eliciting",
    "tokens_per_second",
    "sampling_seconds",
    "samples_per_kept",
    "cost",
    "cost_per_kept",
    "currency",
)
"""Names of the account of a sampling stage, in its metadata and in results."""


class Prices(NamedTuple):
    """Either by the hour or by tokens, in one currency; the other is 0."""

    per_hour: float = 0.0
    """Of all devices that sample together."""
    per_million_prompt_tokens: float = 0.0
    per_million_shared_prompt_tokens: float = 0.0
    """Prompt tokens that a cache had; they are not among those of the price above."""
    per_million_completion_tokens: float = 0.0


def cost(
    prices: Prices, *, seconds: float, prompt_tokens: int, shared_prompt_tokens: int, completion_tokens: int
) -> float:
    """The price of some sampling, in the currency of the prices.

    Args:
        prices: of one engine.
        seconds: that it worked.
        prompt_tokens: of all its completions, shared ones included.
        shared_prompt_tokens: of these, those that a cache had.
        completion_tokens: sampled.
    """
    by_tokens = (
        (prompt_tokens - shared_prompt_tokens) * prices.per_million_prompt_tokens
        + shared_prompt_tokens * prices.per_million_shared_prompt_tokens
        + completion_tokens * prices.per_million_completion_tokens
    )
    return seconds / 3600 * prices.per_hour + by_tokens / 1e6


def per_kept(amount: float, kept: int) -> float | None:
    """Samples, or money, for each example kept.

    Args:
        amount: of samples, or of money.
        kept: examples.

    Returns:
        None where no example is kept.
    """
    return amount / kept if kept else None
