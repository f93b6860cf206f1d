"""The answer of `trace`, as JSON has it. Keys are never renamed and never left out; what is not known is null."""

from typing import Any, Literal, TypedDict

Kind = Literal[
    "pool_line",
    "instruction",
    "pair",
    "modified_instruction",
    "response",
    "judging",
    "judgment",
    "example",
    "training_set",
    "checkpoint",
    "evaluation",
    "judge",
    "item",
    "verdict",
    "model",
]
"""What a node is about; each has its own facts, see the classes below.

    pool_line ─ instruction ─ pair ┬ modified_instruction
                                   ├ response (chosen, rejected)
                                   ├ verdict (of the pair as a held-out one)
                                   └ judging (one iteration) ─ judgment ─ example ─ training_set
    training_set ─ checkpoint ┬ evaluation
                              └ judge
    item ─ verdict
    model ┬ training_set
          ├ checkpoint
          ├ evaluation
          └ judge
"""


class Model(TypedDict):
    """A model, by its weights."""

    digest: str
    role: Literal["seed", "checkpoint", "unknown"]
    """`seed`: the model that everything starts from, or the first annotator; `unknown`: no file here names it."""
    iteration: str | None
    """Whose checkpoint it is."""
    path: str | None
    """Folder of the checkpoint, or of the full model."""


class Node(TypedDict):
    """One step of the way. What came of it stands below it."""

    kind: Kind
    id: str | None
    """Of the row, or digest of the model or training set; null where the step has none."""
    iteration: str | None
    """Whose table or folder it is from; null where it belongs to none, or to several."""
    asked: bool
    """Whether it is what was asked for."""
    facts: dict[str, Any]
    """One of the classes below, by `kind`."""
    children: "list[Node]"


class PoolLine(TypedDict):
    """`pool_line`: where an instruction stands in the user's file."""

    file: str | None
    """Path, where the table says so, else the file's name; null without a pool."""
    line: int | None
    pool_id: str | None
    """The user's own id; null where the recipe names none."""
    category: str | None
    drop_reason: str | None
    repeated_on: list[int]
    """Other lines with the same instruction, which the pool drops."""


class Instruction(TypedDict):
    """`instruction`."""

    text: str | None
    selected_in: list[str]
    """Iterations."""
    not_selected_in: dict[str, str]
    """Drop reason by iteration."""


class Pair(TypedDict):
    """`pair`: the same content in all the iterations that it names."""

    iterations: list[str]
    drop_reason: str | None
    strategy: str


class Written(TypedDict):
    """`modified_instruction`, and `response`, which has also a `role`: chosen or rejected."""

    text: str | None
    finish_reason: str | None
    writer: Model
    recipe: str
    sampling: dict[str, Any] | None
    """Of the recipe as it was; null where the table does not say."""
    engine: dict[str, Any] | None


class Judging(TypedDict):
    """`judging`: all judgments of a pair in one iteration; their children stand in the order of sampling."""

    judge: Model | None
    """Null where the iteration has not judged the pair."""
    sampled: int
    right: int
    kept: int
    """Of them that became training examples."""
    sampling: dict[str, Any] | None


class Judgment(TypedDict):
    """`judgment`."""

    sample_index: int
    chosen_position: str | None
    rated: str | None
    """In the single form: which response."""
    verdict: str | None
    """Null: invalid."""
    is_correct: bool
    judge: str
    """Digest."""
    finish_reason: str
    completion_tokens: int | None
    elicited: bool | None
    """Whether its verdict was elicited; null where the recipe elicited none."""
    kept: bool
    drop_reason: str | None
    """Why it is not trained on, of the judgment's table or of the filtered set; null where it is kept, or not filtered
    yet."""
    text: str | None


class Example(TypedDict):
    """`example`: a judgment in the filtered set."""

    label: str | None
    split: str
    drop_reason: str | None


class TrainingSet(TypedDict):
    """`training_set`: the kept rows of a filtered set."""

    examples: int | None
    validation_examples: int | None
    """Both as the checkpoint counts them: without those that were too long."""


class Checkpoint(TypedDict):
    """`checkpoint`."""

    model: Model
    base: str
    """Digest of its base model."""
    start: str
    """Digest of the model that its training started from."""
    training: dict[str, Any]
    """The recipe's training section."""
    train_loss: float
    validation_loss: float | None
    current: bool
    """Whether it is the one that counts in its iteration (`current.json`)."""
    same_training_set: bool | None
    """Whether it was trained on the filtered set that is there now; null where the table does not say."""


class Evaluation(TypedDict):
    """`evaluation`: greedy verdicts on one benchmark."""

    benchmark: str
    accuracy: float
    interval: list[float]
    """95 % (Wilson)."""
    n: int


class Judge(TypedDict):
    """`judge`: the iteration that the model judges, and what came of that; numbers only where they were asked for."""

    pointer: str
    """The file that names it."""
    judgments: int | None
    right: int | None
    examples: int | None
    checkpoint: str | None
    """Digest of what was trained then."""


class Item(TypedDict):
    """`item`: a pair of a benchmark."""

    benchmark: str
    subset: str | None
    source: str | None
    """File, folder or data set of the hub."""
    label: str | None
    instruction: str | None
    response_a: str | None
    response_b: str | None
    drop_reason: str | None


class Verdict(TypedDict):
    """`verdict`: a judge's verdict on a labelled pair in one order."""

    benchmark: str
    judge: Model
    order: str
    decoding: str
    verdict: str | None
    label: str
    right: bool
    votes_a: int
    votes_b: int
    votes_tie: int
    votes_invalid: int
    votes_elicited: int | None
    """Null where the recipe elicited none."""


class Made(TypedDict):
    """How a table that the answer was read from was made; null where the file does not say."""

    asset: str
    iteration: str | None
    path: str
    data_version: str | None
    code_version: str | None
    run_id: str | None
    made_at: str | None
    """ISO 8601, UTC."""
    made_of: dict[str, str | None]
    """By asset: data version of the input."""
    settings: dict[str, Any] | None
    """What the recipe said then, by section."""


class Trace(TypedDict):
    """The whole answer."""

    schema: int
    """2; raised when a key changes its meaning."""
    recipe: str
    id: str
    """In full."""
    kind: Kind
    direction: Literal["up", "down"]
    trees: list[Node]
    """One, but where the row is in several places: then one for each."""
    tables: list[Made]
    problems: list[str]
    """Sentences: what is missing half-way, and why a table is not current."""
