"""What the columns of all tables mean, and which upstream columns they come from."""

from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table."""

    description: str
    origins: tuple[str, ...] = ()
    """Columns that its values are taken or made from, as `table.column`; only of tables directly upstream."""


_DROP_REASON = "Why the next stage does not read the row; null: it does."
_INSTRUCTION_ID = "Content hash of the instruction."
_PAIR_ID = "Content hash of the pair: of its texts, its strategy and its generator."
_LABEL = "The right verdict in this order: A, B or TIE."

_POOL = {
    "instruction_id": Column(_INSTRUCTION_ID),
    "line": Column("Number of the line, row or entry in its file, from 1."),
    "pool_id": Column("Its id in the pool's file; null without one."),
    "instruction": Column("The instruction, followed by the text of `pool.input_field`, if the recipe names it."),
    "source": Column("Name of the pool's file, or of the source; where that has several files, with the file's."),
    "category": Column("Its category in the pool's file; null without one."),
    "drop_reason": Column(_DROP_REASON),
}

_FINISH = "Why the generator stopped there: stop, length, or an error; null where it was not asked."
_BOTH = ("chosen", "rejected", "instruction")

_VERDICTS = {
    "benchmark": Column("Name of the benchmark in the recipe.", ("benchmarks.benchmark",)),
    "subset": Column("Part of the benchmark.", ("benchmarks.subset",)),
    "item_id": Column("Which pair of the benchmark.", ("benchmarks.item_id",)),
    "group_id": Column("Pairs that the benchmark scores together.", ("benchmarks.group_id",)),
    "instruction_id": Column(_INSTRUCTION_ID, ("benchmarks.instruction_id",)),
    "variant": Column("Which pair of its group it is.", ("benchmarks.variant",)),
    "order": Column("AB: the responses as the benchmark gives them; BA: swapped; none: rated one by one."),
    "decoding": Column("greedy: one judgment at temperature 0; vote: the majority of several samples."),
    "judge": Column("Digest of the weights of the judge."),
    "label": Column(_LABEL, ("benchmarks.label",)),
    "votes_a": Column("Votes for the response that was shown first."),
    "votes_b": Column("Votes for the response that was shown second."),
    "votes_tie": Column("Votes for a tie."),
    "votes_invalid": Column("Votes without a verdict, or with two."),
    "finish_reason": Column(
        "Why its judgments ended: prompt_too_long, the judge could not be asked; length, one was cut off; else stop."
    ),
    "verdict": Column("The verdict with the most votes: A, B or TIE; null: invalid."),
    "score": Column("1 for the right verdict, else 0.", ("benchmarks.label",)),
    "votes_elicited": Column("Votes whose verdict was elicited, since the judgment had none."),
    "verdict_without_elicited": Column("The verdict if those votes were invalid; null: invalid."),
    "rating_a": Column("Mean rating of the first response; null without a valid one."),
    "rating_b": Column("Mean rating of the second response; null without a valid one."),
}

COLUMNS: dict[str, dict[str, Column]] = {
    "instruction_pool": _POOL,
    "instructions": {name: Column(column.description, (f"instruction_pool.{name}",)) for name, column in _POOL.items()},
    "pairs": {
        "pair_id": Column(_PAIR_ID, ("instructions.instruction_id", "instructions.instruction")),
        "instruction_id": Column(_INSTRUCTION_ID, ("instructions.instruction_id",)),
        "instruction": Column(
            "The instruction, against which both responses are judged.", ("instructions.instruction",)
        ),
        "modified_instruction": Column(
            "A similar instruction that asks for something else; the rejected response answers it.",
            ("instructions.instruction",),
        ),
        "chosen": Column("Response to the instruction: the better one.", ("instructions.instruction",)),
        "rejected": Column("Response to the modified instruction: the worse one.", ("instructions.instruction",)),
        "strategy": Column("How the worse response was made."),
        "generator": Column("Digest of the weights of the model that wrote the texts."),
        "chosen_finish": Column(_FINISH),
        "modified_finish": Column(_FINISH),
        "rejected_finish": Column(_FINISH),
        "drop_reason": Column(_DROP_REASON),
    },
    "judgments": {
        "judgment_id": Column(
            "Content hash of the judgment: of judge, pair, place, sample and text.", ("pairs.pair_id",)
        ),
        "pair_id": Column(_PAIR_ID, ("pairs.pair_id",)),
        "sample_index": Column("Which of the samples of the pair, from 0."),
        "chosen_position": Column("Where the better response stood: A (first) or B; null in the single form."),
        "judge": Column("Digest of the weights of the judge."),
        "judgment": Column("What the judge wrote.", tuple(f"pairs.{name}" for name in _BOTH)),
        "verdict": Column("The judgment's final verdict: A, B or TIE, or a rating; null: invalid."),
        "is_correct": Column("Whether the verdict names the better response."),
        "finish_reason": Column("Why the judge stopped there: stop, length, or an error."),
        "completion_tokens": Column("Length of the judgment in tokens."),
        "drop_reason": Column(_DROP_REASON),
        "elicited": Column("Whether its verdict was elicited, since it had none; the text ends with it."),
        "rated": Column("Which response was rated: chosen or rejected."),
        "rating": Column("The rating, from 1 to 10; null: invalid."),
    },
    "filtered_set": {
        "example_id": Column("Content hash of the example.", ("judgments.judgment_id",)),
        "judgment_id": Column("The judgment that it teaches.", ("judgments.judgment_id",)),
        "pair_id": Column(_PAIR_ID, ("judgments.pair_id",)),
        "instruction_id": Column(_INSTRUCTION_ID, ("pairs.instruction_id",)),
        "messages": Column("The prompt for the judge, as a conversation.", tuple(f"pairs.{name}" for name in _BOTH)),
        "completion": Column("The answer that the judge should learn: the judgment.", ("judgments.judgment",)),
        "label": Column(
            "Verdict of the judgment, A or B; in the single form the response that it rates.", ("judgments.verdict",)
        ),
        "split": Column("train, or validation: held out of training, by instruction.", ("pairs.instruction_id",)),
        "drop_reason": Column(
            _DROP_REASON, tuple(f"judgments.{name}" for name in ("verdict", "is_correct", "finish_reason"))
        ),
        "rating": Column("The rating that the judgment gives.", ("judgments.rating",)),
    },
    "benchmarks": {
        "benchmark": Column("Name of the benchmark in the recipe."),
        "subset": Column("Part of the benchmark."),
        "item_id": Column("Which pair of the benchmark."),
        "group_id": Column("Pairs that the benchmark scores together."),
        "instruction_id": Column(_INSTRUCTION_ID),
        "instruction": Column("The instruction, against which both responses are judged."),
        "response_a": Column("The response that the benchmark gives first."),
        "response_b": Column("The response that the benchmark gives second."),
        "label": Column("Which response is better: A, B or TIE."),
        "reference": Column("A reference answer that is shown to the judge; null without one."),
        "variant": Column("Which pair of its group it is."),
        "label_seen": Column("The unreadable value of the label; null if the label could be read."),
        "drop_reason": Column(_DROP_REASON),
    },
    "evaluation": _VERDICTS,
    "seed_evaluation": _VERDICTS,
    "progress": {
        "benchmark": Column(
            "Name of the benchmark in the recipe.", ("evaluation.benchmark", "seed_evaluation.benchmark")
        ),
        "judge": Column("seed, or the iteration whose checkpoint it is."),
        "digest": Column("Digest of the weights of the judge.", ("evaluation.judge", "seed_evaluation.judge")),
        "votes": Column("Samples of each vote."),
        "items": Column("Pairs that it was measured on.", ("evaluation.item_id", "seed_evaluation.item_id")),
        "instructions": Column(
            "Instructions of these pairs.", ("evaluation.instruction_id", "seed_evaluation.instruction_id")
        ),
        "verdicts": Column("Greedy verdicts, both orders of each pair."),
        "accuracy": Column("Share of right greedy verdicts.", ("evaluation.score", "seed_evaluation.score")),
        "accuracy_clustered": Column("Accuracy, resampling whole instructions."),
        "accuracy_invalid_half": Column("Accuracy if an invalid verdict counts as half a right one."),
        "position_consistent": Column("Share of pairs with the right verdict in both orders."),
        "accuracy_winner_first": Column("Accuracy when the better response comes first."),
        "accuracy_loser_first": Column("Accuracy when the better response comes second."),
        "position_bias": Column(
            "Half the difference between the two: positive if the judge favours the first response."
        ),
        "invalid_share": Column("Share of greedy verdicts that are invalid."),
        "elicited_share": Column("Share of greedy verdicts that were elicited."),
        "accuracy_without_elicited": Column("Accuracy if an elicited verdict counts as invalid."),
        "accuracy_without_elicited_interval": Column("Accuracy without elicited verdicts."),
        "accuracy_without_elicited_interval_clustered": Column("The same, resampling whole instructions."),
        "vote_accuracy_without_elicited": Column("Share of right verdicts by vote if elicited votes are invalid."),
        "single_sample_accuracy": Column("Share of right ones among all votes."),
        "vote_accuracy": Column("Share of right verdicts by vote."),
        "vote_interval": Column("Accuracy by vote."),
        "vote_interval_clustered": Column("Accuracy by vote, resampling whole instructions."),
        "pooled_vote_accuracy": Column("The same with the votes of both orders together."),
        "pooled_vote_interval": Column("Accuracy by pooled vote."),
        "pooled_vote_interval_clustered": Column("Accuracy by pooled vote, resampling whole instructions."),
        "calibration_error": Column("Calibration error: how far the share of votes is from the accuracy."),
        "calibrated_error": Column("The same after calibration, cross-validated."),
        "p_vs_seed": Column("McNemar's test against the seed."),
        "p_vs_seed_clustered": Column("Sign-flip test against the seed over instructions."),
        "p_vs_previous": Column("McNemar's test against the judge before."),
        "p_vs_previous_clustered": Column("Sign-flip test against the judge before over instructions."),
        "difference_vs_seed": Column("Accuracy minus the seed's."),
        "difference_vs_seed_interval": Column("Difference from the seed."),
        "difference_vs_previous": Column("Accuracy minus that of the judge before."),
        "difference_vs_previous_interval": Column("Difference from the judge before."),
        "pairs": Column("Valid pairs of the iteration."),
        "kept": Column("Examples that it was trained on."),
        "seconds": Column("Wall time of the iteration's steps."),
    },
}
"""By table: its columns by name. A table of one form lacks the columns of the other."""

_ENDS = {"_low": "Lower end of the 95 % interval", "_high": "Upper end of the 95 % interval"}
_PUBLISHED = "published/"


def describe(table: str, column: str) -> str | None:
    """One line about a column; None where nothing is known of it."""
    known = COLUMNS.get(table, {})
    if column in known:
        return known[column].description
    for suffix, end in _ENDS.items():
        inner = describe(table, column.removesuffix(suffix)) if column.endswith(suffix) else None
        if inner is not None:
            return f"{end}: {inner[0].lower()}{inner[1:]}"
    if table == "progress" and column.startswith(_PUBLISHED):
        return f"The benchmark's own score {column.removeprefix(_PUBLISHED)!r}."
    return None


def origins(table: str, column: str) -> list[tuple[str, str]]:
    """The columns that a column comes from, as (table, column)."""
    known = COLUMNS.get(table, {}).get(column)
    return [] if known is None else [tuple(origin.split(".")) for origin in known.origins]
