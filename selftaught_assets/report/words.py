"""What the code's short names mean, for readers who have not read the documents.

Belongs here: one phrase for each name that the report shows. Not here: longer explanations (docs/) and the sentences
beside charts (the template).
"""

REASONS = {
    # instructions
    "not_selected": "left in the pool: not drawn for this iteration",
    "too_long": "longer than the recipe allows",
    "other_category": "of a category that the recipe leaves out",
    "empty": "no text",
    "duplicate": "says the same as an earlier line",
    # pairs
    "failed": "the engine gave up on it",
    "prompt_too_long": "the prompt does not fit into the model's context",
    "chosen_empty": "no response to the instruction",
    "modified_instruction_missing": "no modified instruction was written",
    "modified_instruction_unchanged": "the modified instruction asks the same",
    "rejected_empty": "no response to the modified instruction",
    "responses_equal": "both responses are the same, so neither is worse",
    "template_leftover": "a response holds a piece of a prompt template",
    # judgments
    "no_right_judgment": "no sampled judgment found the better response",
    "invalid_verdict": "no verdict, or two different ones",
    "invalid_rating": "no rating, or two different ones",
    "tie_verdict": "says that both responses are equally good",
    "wrong_verdict": "prefers the worse response",
    "wrong_rating": "rates its response on the wrong side of the other",
    "pair_not_ordered": "no two ratings of the pair put the better response first",
    "truncated": "cut off by the token limit",
    "not_drawn": "right, but another right judgment of the pair was drawn",
    "balance": "right, but cut so that A and B win equally often",
    # training
    "held_out": "held out of training, to watch its loss",
    "beyond_max_tokens": "longer than the training's token limit",
}
"""By drop reason."""

STAGES = {
    "instructions": "select instructions",
    "pairs": "write preference pairs",
    "judge": "fetch the judge",
    "judgments": "sample judgments",
    "filtered_set": "keep right judgments",
    "checkpoint": "train the next judge",
    "evaluation": "measure it",
    "instruction_pool": "read the pool",
    "seed_model": "fetch the seed model",
    "benchmarks": "read the benchmarks",
    "seed_evaluation": "measure the seed model",
}
"""By asset."""

ATTACKS = {
    "verdict": "it ends with a verdict for itself",
    "plea": "it asks to be judged the better one",
    "authority": "it claims that the other one has been found to be wrong",
    "end_of_block": "it pretends that the responses end and the verdict follows",
    "end_of_turn": "it pretends that the judge has spoken already",
    "rival": "it puts a bad response in the place of the other one",
}
"""What the worse response does, by the attack's name in the recipe."""


def short(judge: str) -> str:
    """`iteration_03` as "iteration 3"; other names as they are."""
    name, _, number = judge.partition("_")
    return f"{name} {int(number)}" if name == "iteration" and number.isdigit() else judge
