"""The section `checks` of a recipe: the thresholds at which data counts as suspicious.

No asset depends on this section, so changing it makes nothing stale: a table is checked with it when it is made again,
or when somebody executes its checks in Dagster. A share is compared by its interval of 95 %: a warning means that it is
beyond the threshold, not merely that it looks so. All of them only warn, except `max_contained_share`, which stops a
run.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from selftaught_assets.recipe.fields import InputPath, Section

Share = Annotated[float, Field(ge=0, le=1)]
Half = Annotated[float, Field(ge=0, le=0.5)]


Table = Literal[
    "instruction_pool",
    "benchmarks",
    "instructions",
    "pairs",
    "judgments",
    "filtered_set",
    "evaluation",
    "seed_evaluation",
]


class OwnSuite(Section):
    """A suite of Great Expectations, as JSON, that a table is checked with besides ours; its path alone will do."""

    path: InputPath
    """The file that Great Expectations wrote."""
    blocking: bool = True
    """Whether it stops the run; if not, it only warns."""


def _suite(value: object) -> object:
    """`pairs: suite.json` means `pairs: {path: suite.json}`."""
    return {"path": value} if isinstance(value, str) else value


Suite = Annotated[OwnSuite, BeforeValidator(_suite, json_schema_input_type=OwnSuite | str)]


class Checks(Section):
    """Thresholds; docs/troubleshooting.md says what to do if one is crossed."""

    min_characters: int = Field(3, ge=1)
    """Shorter instructions count as odd; "hi" is no task, while "2+2" is one."""
    max_odd_share: Share = 0.01
    """Of instructions too short, too long, or with unprintable characters: chat logs have some, a broken export many.
    Of kept pairs that the judge could not be asked about too, and of rows of a benchmark whose label cannot be read."""
    max_repeated_instructions: Share = 0.1
    """Of rows of the pool that repeat an earlier one, which are not used; logs of real questions have a few in a
    hundred. Many more suggest a field that is not read (`pool.input_field`), or a broken export."""
    max_category_share: Share = 0.9
    """Of the most frequent category; above, the pool has in fact one, and the judge learns to judge that one only."""
    max_contained_share: Share = 0.5
    """Of the runs of 13 words of a benchmark instruction, in one of ours: from here on it is a copy, and stops the run.
    Below, a shared run warns: a quoted standard text, most often."""
    max_drop_share: Share = 0.2
    """Of pairs that are lost for one cause: at this share, a fifth of the generation cost is lost."""
    near_duplicate: Share = 0.8
    """Similarity from which two texts count as nearly the same; the demo's instructions, which are made of a few
    templates, have a nearest neighbour at 0.4 to 0.7."""
    max_near_duplicate_share: Share = 0.1
    """Of pairs whose instruction nearly repeats an earlier one: they count several times in training."""
    min_similarity: Share = 0.05
    """Of instruction and modified instruction: below, they have nothing in common, and the pair is trivial to judge."""
    max_similarity: Share = 0.9
    """Above, a word or two differ, and the "worse" response may well answer the instruction."""
    max_outside_similarity: Share = 0.1
    """Of pairs on either side of that band."""
    length_tolerance: Half = 0.15
    """How far "the longer one wins" may be from a coin's one half. People do choose longer answers, in 68 % of
    PandaLM's test pairs; but there both answers are to the same instruction."""
    max_refusal_share: Share = 0.05
    """Of chosen, or of rejected, responses that refuse: such pairs teach that refusing loses, or wins."""
    min_parse_rate: Share = 0.9
    """Of judgments with a verdict that can be read: below, the prompt's format is not understood."""
    max_truncated_share: Share = 0.05
    """Of judgments that the token limit cut off: they are lost, and the long ones are those of hard pairs."""
    min_correct_share: Share = 0.5
    """Of first judgments that are right: a coin would reach it, so a judge below it does not read, or the labels are
    wrong."""
    max_correct_share: Share = 0.98
    """Above, there is nothing left to learn from these pairs: they are too easy for this judge."""
    min_solved_share: Share = 0.5
    """Of pairs with a right judgment among all that were sampled; below, mostly the easy half is trained on."""
    max_position_bias: Half = 0.1
    """Half the difference between the shares that are right with the winner in A and in B; 0.1 is 60 % against 80 %."""
    min_train_examples: int = Field(100, ge=0)
    """Fewer give only a handful of steps; the paper trains on thousands."""
    min_distinct: Share = 0.05
    """distinct-2 of a thousand judgments; free text is at 0.3 and more, the short lists of the demo at 0.15."""
    max_repeated_share: Share = 0.3
    """Of judgments that nearly repeat another one: phrases instead of reasons."""
    max_probe_accuracy: Share = 0.6
    """Of a classifier that guesses the label from lengths, openings, markup or words alone; a coin has 0.5. By one sign
    and by words, pairs of the demo are at 0.51 and 0.53, those that people labelled (PandaLM) at 0.54 and 0.47, and
    those whose losers were chosen for their looks (LLMBar) at 0.57 and 0.66. A sign that a fifth of the losers alone
    bear is at 0.6."""
    max_validation_rise: float = Field(0.05, ge=0)
    """Of the validation loss over its lowest value, as a share of that: above, the last epochs memorized the
    examples."""
    max_invalid_share: Share = 0.1
    """Of greedy verdicts that could not be read; each counts as wrong, so accuracy then measures the format."""
    max_overfit_gap: Share = 0.1
    """Accuracy on held-out synthetic pairs minus accuracy on the first benchmark. Some gap is natural: a response to
    another instruction is easier to tell than the worse one of two honest answers."""

    suites: dict[Table, Suite] = Field(default_factory=dict)
    """By table: your own suite, applied as written in the file (docs/checks.md)."""

    @model_validator(mode="after")
    def _bands_are_bands(self) -> "Checks":
        if self.min_similarity > self.max_similarity:
            raise ValueError("checks.min_similarity is above checks.max_similarity")
        if self.min_correct_share > self.max_correct_share:
            raise ValueError("checks.min_correct_share is above checks.max_correct_share")
        return self
