"""The sections of a recipe that say what each stage of the method does, from the pool to the publication of a judge."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from selftaught_assets.method.attacks import AttackName
from selftaught_assets.method.costs import Prices
from selftaught_assets.method.scoring.comparison import Rule
from selftaught_assets.method.verdicts import (
    CLOSING,
    Verdict,
    VerdictFormat,
    parse_verdict,
    up_to_verdict,
    verdict_choices,
)
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.recipe.fields import InputPath, Name, Section, added

Share = Annotated[float, Field(ge=0, le=1)]
Schedule = Literal["fixed", "fresh"]


class Price(Section):
    """What sampling costs: by the hour, for your own devices, or by tokens, for another team's server."""

    currency: str = "USD"
    """A name to print; nothing is converted."""
    per_hour: float | None = Field(None, ge=0)
    """Of all devices that sample together: the price of a GPU-hour times their number."""
    per_million_prompt_tokens: float | None = Field(None, ge=0)
    """Those that no cache had."""
    per_million_shared_prompt_tokens: float | None = Field(None, ge=0)
    """Prompt tokens that a cache had; null is the price of the others."""
    per_million_completion_tokens: float | None = Field(None, ge=0)
    """Those that were sampled."""

    @property
    def prices(self) -> Prices:
        prompt = self.per_million_prompt_tokens or 0.0
        shared = self.per_million_shared_prompt_tokens
        return Prices(
            per_hour=self.per_hour or 0.0,
            per_million_prompt_tokens=prompt,
            per_million_shared_prompt_tokens=prompt if shared is None else shared,
            per_million_completion_tokens=self.per_million_completion_tokens or 0.0,
        )

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> "Price":
        needed = (self.per_million_prompt_tokens, self.per_million_completion_tokens)
        if self.per_hour is None and None in needed:
            raise ValueError("price needs per_hour, or per_million_prompt_tokens and per_million_completion_tokens")
        if self.per_hour is not None and {*needed, self.per_million_shared_prompt_tokens} != {None}:
            raise ValueError("price is either per_hour or by tokens, not both")
        return self


class Instructions(Section):
    """Which instructions of the pool an iteration works on."""

    count: int = Field(20_000, ge=1)
    """How many instructions in each iteration."""
    schedule: Schedule = "fixed"
    """`fixed`: the same ones (so the same pairs) in every iteration, as in the paper; `fresh`: others in each."""
    max_characters: int = Field(8_000, ge=1)
    """Longer instructions are left out."""
    categories: tuple[str, ...] | None = None
    """Only these values of the pool's category field; null takes all."""
    shares: dict[Name, Annotated[float, Field(gt=0)]] | None = added(None)
    """What part of the instructions each source of the pool gives, by its name, in proportion; a source that has too
    few gives what it has. Null draws from all sources together."""


class Pairs(Section):
    """How preference pairs are written (paper section 3)."""

    form: Literal["one_call", "two_calls"] = "one_call"
    """`one_call`: the modified instruction and its response in one completion, as in the paper; `two_calls`: one
    after the other, better for small models."""
    response: SamplingParameters = SamplingParameters()
    """Of responses to instructions. One that is cut off drops its pair."""
    modification: SamplingParameters = SamplingParameters()
    """Of modified instructions and, in two calls, of the responses to them; in one call, of both together."""
    min_valid_share: Share = 0.5
    """Below this share of valid pairs, the check `pair_validity` stops the run."""


class Judgments(Section):
    """How the current judge is sampled (paper section 3)."""

    form: Literal["pairwise", "single"] = "pairwise"
    """`pairwise` compares the two responses, as in the paper; `single` rates one response at a time, from 1 to 10."""
    n: int = Field(15, ge=1)
    """Judgments of each pair (in each order, where `positions` is both); of each response in the single form."""
    stop: Literal["first_correct", "never"] = "first_correct"
    """`first_correct`: sampling of a pair stops at its first right judgment. The examples have the same distribution
    as in the paper, for a fraction of the samples. `never`: all n of every pair, as in the paper; needed for pass
    rates, and for pairs of right and wrong judgments. A single response has no right rating by itself, so all n are
    sampled."""
    sampling: SamplingParameters = SamplingParameters()
    """Colder judgments repeat; hotter ones more often lack a verdict."""
    positions: Literal["random", "both"] = "random"
    """Where the winner stands: in a seeded random position, or in both in turn. A single response has no position."""
    first_annotator: InputPath | None = None
    """A model folder that judges iteration 1; null is the seed model."""


class Verdicts(Section):
    """How the judge is asked for its verdict, and how the verdict is read."""

    format: VerdictFormat = "brackets"
    """`brackets` [[A]], `arrows` [[A>>B]], `output` "Output (a) is better", `json` {"verdict": "A"}, or `answer`
    <answer>[[A]]</answer>. The judge prompt must ask for this form; the shipped one asks for brackets."""
    ties: bool = False
    """Whether the prompt offers a tie. If it does not, a judgment that says so is invalid."""
    elicit: Literal["never", "missing"] = "never"
    """What happens to a judgment that ends, or is cut off, without a verdict. `never`: it is invalid, as in the paper.
    `missing`: it is continued by `closing`, and the next token is drawn from those that complete a verdict alone, each
    as likely as the model holds it to be among them; for judges that do not know the format yet."""
    closing: str = CLOSING
    """What leads from such a judgment to its verdict, in the language of the prompts."""

    @model_validator(mode="after")
    def _what_is_elicited_is_read(self) -> "Verdicts":
        if self.elicit == "never":
            return self
        for choice in verdict_choices(self.format, ties=self.ties):
            if parse_verdict(up_to_verdict("", self.closing) + choice, self.format, ties=self.ties) is Verdict.INVALID:
                raise ValueError(f"verdicts.closing leads to no verdict: {self.closing + choice!r} is not read as one")
        return self


class Filter(Section):
    """Which judgments are trained on (paper section 3)."""

    keep: Literal["correct", "any"] = "correct"
    """`correct` is the method; `any` keeps wrong verdicts as well: the control that shows what the filter teaches."""
    validation_share: Share = 0.1
    """Share of the instructions whose examples are held out of training."""
    label_tolerance: Share = 0.02
    """The check `label_balance` stops the run if the share of A is further than this from one half."""


class Training(Section):
    """How the next judge is fine-tuned on the kept judgments (paper section 4)."""

    start_from: Literal["seed", "previous"] = "seed"
    """`seed` restarts from the seed model in each iteration, as the paper does; `previous` continues training the
    judge."""
    lora_rank: int = Field(16, ge=1)
    """Four times the rank has four times the trainable parameters, and takes their memory."""
    lora_alpha: int = Field(32, ge=1)
    """Usually twice the rank."""
    epochs: float = Field(2.0, gt=0)
    """Time grows in proportion; the paper trains for two at most."""
    batch_size: int = Field(32, ge=1)
    """Split automatically to fit the memory: another value changes the result, not the memory."""
    learning_rate: float = Field(1e-4, gt=0)
    """The peak. For LoRA: the paper trains all weights, with 1e-6."""
    min_learning_rate_share: Share = 0.2
    """The cosine schedule ends at this share of the peak."""
    warmup_steps: int = Field(10, ge=0)
    """The rate rises linearly over these."""
    weight_decay: float = Field(0.1, ge=0)
    """As in the paper."""
    adam_beta2: float = Field(0.95, gt=0, lt=1)
    """As in the paper."""
    max_tokens: int = Field(4_096, ge=8)
    """Examples longer than this, prompt and judgment together, are left out and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the base weights while training; adapters are always float32."""


class Evaluation(Section):
    """How a judge is measured: greedily, and by a majority of `votes` samples (paper section 3), in both orders.

    Where `judgments.form` is single: by the ratings of both responses, greedy ones and means of `votes` samples.
    """

    votes: int = Field(8, ge=1)
    """In each order. Each costs as much as a greedy verdict; the paper takes 32."""
    sampling: SamplingParameters = SamplingParameters()
    """Of the votes; greedy verdicts use its max_tokens and stop strings."""
    attacks: tuple[AttackName, ...] = ()
    """With which the worse response of the first benchmark begs for the verdict; each costs one more greedy round."""


class PromotionSettings(Section):
    """How, and whether, judge[i+1] takes over checkpoint[i]."""

    wait_seconds: float = Field(86_400.0, ge=0)
    """How long an iteration waits for a predecessor that is training right now."""
    rule: Rule = "always"
    """Which checkpoint may judge. `always`: every one, as in the paper, without comparison; `not_worse`: not one that
    is significantly worse than the current judge; `better`: only one that is significantly better."""
    validation: str | None = None
    """The benchmark of the recipe on which they are compared. It should be one whose figures nobody reports: judges
    that were chosen by it look better on it than they are. So there is no default. It costs no sampling beyond that of
    `evaluation`, which takes the same verdicts."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Below this p-value (sign-flip test over instructions, exact, two-sided) a difference is significant."""
    stop_when_flat: int | None = Field(None, ge=1)
    """The loop ends after this many successive iterations without a significant gain over the one before."""

    @property
    def compares(self) -> bool:
        """Whether a checkpoint is compared with the current judge before it may judge."""
        return self.rule != "always" or self.stop_when_flat is not None
