"""The recipe: everything that a user may choose, typed, validated, loaded from one YAML file.

Belongs here: the choices, their limits and defaults, and the digest of a section. Not here: what is done with them, and
what may be said of a benchmark (`benchmark_settings`), of an engine (`engine_settings`) and of the journal's place
(`journal_settings`).
Paths in a recipe are relative to the recipe's own file.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from selftaught_assets.benchmark_settings import Benchmark, Section
from selftaught_assets.engine_settings import EngineSettings, TransformersSettings
from selftaught_assets.engines.protocol import SamplingParameters
from selftaught_assets.errors import UserError
from selftaught_assets.journal_settings import Place, require_place
from selftaught_assets.method.attacks import AttackName
from selftaught_assets.method.costs import Prices
from selftaught_assets.method.identity import digest
from selftaught_assets.method.promotion import Rule
from selftaught_assets.method.prompts import TEMPLATE_NAMES, PromptTemplates, require_templates
from selftaught_assets.method.verdicts import VerdictFormat

RECIPES_FOLDER = Path(__file__).resolve().parent.parent / "recipes"
PROMPTS_FOLDER = Path(__file__).resolve().parent / "prompts"

Share = Annotated[float, Field(ge=0, le=1)]
Schedule = Literal["fixed", "fresh"]


class Pool(Section):
    """Unlabelled instructions: a JSONL file with one object per line."""

    path: Path
    instruction_field: str = "instruction"
    id_field: str | None = None
    category_field: str | None = None


class Price(Section):
    """What sampling costs: by the hour, for devices of one's own, or by tokens, for a server of somebody else."""

    currency: str = "USD"
    per_hour: float | None = Field(None, ge=0)
    """Of all devices that sample together: the price of a GPU-hour times their number."""
    per_million_prompt_tokens: float | None = Field(None, ge=0)
    per_million_shared_prompt_tokens: float | None = Field(None, ge=0)
    """Prompt tokens that a cache had; null is the price of the others."""
    per_million_completion_tokens: float | None = Field(None, ge=0)

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
    """How many in each iteration."""
    schedule: Schedule = "fixed"
    """`fixed`: the same ones (so the same pairs) in every iteration, as in the paper; `fresh`: others in each."""
    max_characters: int = Field(8_000, ge=1)
    categories: tuple[str, ...] | None = None
    """Only these values of the pool's category field; null takes all."""


class Pairs(Section):
    """How preference pairs are written (paper section 3)."""

    form: Literal["one_call", "two_calls"] = "one_call"
    """`one_call`: the modified instruction and its response in one completion, as in the paper; `two_calls`: one
    after the other, better for small models."""
    response: SamplingParameters = SamplingParameters()
    modification: SamplingParameters = SamplingParameters()
    min_valid_share: Share = 0.5
    """Below this share of valid pairs the check `pair_validity` stops the run."""


class Judgments(Section):
    """How the current judge is sampled (paper section 3)."""

    form: Literal["pairwise", "single"] = "pairwise"
    """`pairwise` compares the two responses, as in the paper; `single` rates one response at a time, from 1 to 10."""
    n: int = Field(15, ge=1)
    """Judgments of each pair (in each order, where `positions` is both); of each response in the single form."""
    stop: Literal["first_correct", "never"] = "first_correct"
    """`first_correct`: no more judgments of a pair that has a right one. The examples have the same distribution as in
    the paper, for a fraction of the samples. `never`: all n of every pair, as in the paper; needed for pass rates, and
    for pairs of right and wrong judgments. A single response has no right rating by itself, so all n are sampled."""
    sampling: SamplingParameters = SamplingParameters()
    positions: Literal["random", "both"] = "random"
    """Where the winner stands: in a seeded random position, or in both in turn. A single response has no position."""
    first_annotator: Path | None = None
    """A model folder that judges iteration 1; null is the seed model."""


class Verdicts(Section):
    """How the judge is asked for its verdict, and how the verdict is read."""

    format: VerdictFormat = "brackets"
    """`brackets` [[A]], `arrows` [[A>>B]], `output` "Output (a) is better", `json` {"verdict": "A"}, or `answer`
    <answer>[[A]]</answer>. The judge prompt must ask for this form; the shipped one asks for brackets."""
    ties: bool = False
    """Whether the prompt offers a tie. Where it does not, a judgment that says so is invalid."""


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
    """`seed` restarts from the seed model in each iteration, as the paper does; `previous` goes on with the judge."""
    lora_rank: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    epochs: float = Field(2.0, gt=0)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    min_learning_rate_share: Share = 0.2
    """The cosine schedule ends at this share of the peak."""
    warmup_steps: int = Field(10, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    adam_beta2: float = Field(0.95, gt=0, lt=1)
    max_tokens: int = Field(4_096, ge=8)
    """Examples longer than this, prompt and judgment together, are left out and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the base weights while training; adapters are always float32."""


class Evaluation(Section):
    """How a judge is measured: greedily, and by a majority of `votes` samples (paper section 3), in both orders.

    Where `judgments.form` is single: by the ratings of both responses, greedy ones and means of `votes` samples.
    """

    votes: int = Field(8, ge=1)
    sampling: SamplingParameters = SamplingParameters()
    """Of the votes; greedy verdicts use its max_tokens and stop strings."""
    attacks: tuple[AttackName, ...] = ()
    """With which the worse response of the first benchmark begs for the verdict; each costs one more greedy round."""


class Handover(Section):
    """How, and whether, judge[i+1] takes over checkpoint[i]."""

    wait_seconds: float = Field(86_400.0, ge=0)
    """How long an iteration waits for a predecessor that is training right now."""
    promote: Rule = "always"
    """Which checkpoint may judge. `always`: every one, as in the paper, and none is compared; `not_worse`: not one that
    is significantly worse than the judge in office; `better`: only one that is significantly better."""
    validation: str | None = None
    """The benchmark of the recipe on which they are compared. It should be one whose figures nobody reports: judges
    that were chosen by it look better on it than they are. So there is no default. It costs no sampling beyond that of
    `evaluation`, which takes the same verdicts."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Below this p-value (McNemar's, exact, two-sided) a difference is significant."""
    stop_when_flat: int | None = Field(None, ge=1)
    """The loop ends after so many successive iterations without a significant gain, each over the one before."""

    @property
    def compares(self) -> bool:
        """Whether a checkpoint is compared with the judge in office before it may judge."""
        return self.promote != "always" or self.stop_when_flat is not None


class Recipe(Section):
    """One experiment. Its name is the prefix of its asset keys and the folder of its data."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    seed: int = Field(1, ge=0)
    iterations: int = Field(5, ge=1, le=99)
    pool: Pool
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)
    seed_model: Path
    prompts: Path = PROMPTS_FOLDER
    """Folder with the prompt templates (Jinja2): response, modified_instruction, modified_pair, judge; and score, where
    `judgments.form` is single."""
    engine: EngineSettings = TransformersSettings()
    price: Price | None = None
    """What sampling costs; the sampling assets then report it."""
    journal: Place | None = None
    """Where completions are remembered: a folder, or an address such as s3://bucket/prefix, for machines that share no
    disk. Null is the data folder. In an object store each append is one upload, and each stage first copies its journal
    here; recipes may share one, and then share their completions."""
    instructions: Instructions = Instructions()
    pairs: Pairs = Pairs()
    judgments: Judgments = Judgments()
    verdicts: Verdicts = Verdicts()
    filter: Filter = Filter()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    handover: Handover = Handover()

    @model_validator(mode="after")
    def _the_journal_has_a_place(self) -> "Recipe":
        require_place(self.journal)
        return self

    @model_validator(mode="after")
    def _benchmark_names_differ(self) -> "Recipe":
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError("two benchmarks have the same name")
        return self

    @model_validator(mode="after")
    def _validation_is_a_benchmark(self) -> "Recipe":
        names = [benchmark.name for benchmark in self.benchmarks]
        validation = self.handover.validation
        if validation is not None and validation not in names:
            raise ValueError(
                f"handover.validation names the benchmark {validation!r}, but there is only {', '.join(names)}"
            )
        if self.handover.compares and validation is None:
            wanted = "stop_when_flat" if self.handover.promote == "always" else f"promote: {self.handover.promote}"
            raise ValueError(
                f"handover.{wanted} needs handover.validation, the name of a benchmark to compare judges on; "
                "best one that is not reported"
            )
        return self

    @model_validator(mode="after")
    def _continuing_starts_from_the_seed(self) -> "Recipe":
        if self.training.start_from == "previous" and self.judgments.first_annotator is not None:
            raise ValueError("training.start_from: previous cannot continue a judgments.first_annotator; use seed")
        return self

    @model_validator(mode="after")
    def _the_control_keeps_what_is_drawn(self) -> "Recipe":
        if self.filter.keep == "any" and self.stops_when_right:
            raise ValueError(
                "filter.keep: any needs judgments.stop: never, or the last judgment of each pair is a right one"
            )
        return self

    @model_validator(mode="after")
    def _the_prompt_asks_for_the_format(self) -> "Recipe":
        if self.verdicts.format != "brackets" and self.prompts == PROMPTS_FOLDER:
            raise ValueError(
                f"verdicts.format: {self.verdicts.format} needs `prompts` of its own whose judge template asks for it; "
                "the shipped one asks for brackets"
            )
        return self

    @model_validator(mode="after")
    def _a_single_response_has_no_position(self) -> "Recipe":
        if self.judgments.form == "single" and self.judgments.positions == "both":
            raise ValueError("judgments.positions: both means nothing where judgments.form is single; leave it out")
        if self.judgments.form == "single" and self.evaluation.attacks:
            raise ValueError("evaluation.attacks needs two responses: leave it out where judgments.form is single")
        return self

    @model_validator(mode="after")
    def _a_tie_that_counts_can_be_given(self) -> "Recipe":
        counting = [benchmark.name for benchmark in self.benchmarks if benchmark.ties == "count"]
        if counting and self.judgments.form == "pairwise" and not self.verdicts.ties:
            raise ValueError(
                f"benchmark {counting[0]}: `ties: count` needs verdicts.ties: true, or the judge is never offered a tie"
            )
        return self

    @property
    def stops_when_right(self) -> bool:
        """Whether a pair that has a right judgment is not sampled any more (method/sequential.py)."""
        return self.judgments.stop == "first_correct" and self.judgments.form == "pairwise"

    @cached_property
    def templates(self) -> PromptTemplates:
        """The prompt templates, as text. Raises UserError if a file of the folder is missing that the form needs."""
        texts = {}
        for name in TEMPLATE_NAMES:
            path = self.prompts / f"{name}.jinja"
            if path.is_file():
                texts[name] = path.read_text(encoding="utf-8")
            elif name != "score" or self.judgments.form == "single":
                raise UserError(
                    f"Recipe {self.name}: the prompt template {path} does not exist; add it or drop `prompts`."
                )
        return PromptTemplates(**texts)

    def version(self, *sections: str) -> str:
        """Code version of an asset that uses these sections: changes when, and only when, one of them changes."""
        values = self.model_dump(mode="json", include={"seed", *sections})
        if "prompts" in sections:
            unused = {"score"} if self.judgments.form == "pairwise" else set()
            values["prompts"] = {name: text for name, text in self.templates._asdict().items() if name not in unused}
        return digest(values)[:12]


def load_recipe(name_or_path: str) -> Recipe:
    """Reads `recipes/<name>.yaml`, or the file at a path that ends in .yaml.

    Raises:
        UserError: the file is missing or not YAML, a field is unknown or has an impossible value, or a path in it
            leads nowhere.
    """
    path = Path(name_or_path) if name_or_path.endswith((".yaml", ".yml")) else RECIPES_FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES_FOLDER.glob("*.yaml"))) or "none"
        raise UserError(
            f"There is no recipe {name_or_path!r}: give the path of a .yaml file or one of the shipped ones ({known})."
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"Recipe {path} is not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise UserError(f"Recipe {path} must be a mapping of fields to values.")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise UserError(f"Recipe {path}: {_first_problem(error)}.") from None
    recipe = _with_absolute_paths(recipe, path.resolve().parent)
    _require_paths(recipe, path)
    try:
        require_templates(recipe.templates)
    except ValueError as error:
        raise UserError(f"Recipe {path}: {error}") from None
    return recipe


def engine_settings(text: str, recipe: Recipe) -> EngineSettings:
    """What stands for the recipe's section `engine`, as YAML: a name, or a mapping as in a recipe.

    A name alone means the recipe's own settings where it names the same engine, else that engine's defaults.

    Raises:
        UserError: it is not YAML, or no engine; or a field is unknown, missing or impossible.
    """
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"The engine {text!r} is not valid YAML: {' '.join(str(error).split())}.") from None
    if value == recipe.engine.name:
        return recipe.engine
    if not isinstance(value, str | dict):
        raise UserError(f"The engine {text!r} must be a name, such as vllm, or a mapping, such as {{name: vllm}}.")
    try:
        return TypeAdapter(EngineSettings).validate_python(value)
    except ValidationError as error:
        raise UserError(f"The engine {text!r}: {_first_problem(error)}.") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    parts = [str(part) for part in problem["loc"]]
    # Behind `engine` stands which of the engines was meant, which is no field.
    place = ".".join(part for before, part in zip(["", *parts], parts, strict=False) if before != "engine")
    if not place:
        return problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "union_tag_invalid":
        tag, known = (problem["ctx"][name] for name in ("tag", "expected_tags"))
        return f"`{place}.name` is {tag!r}: it must be one of {known}"
    if problem["type"] == "extra_forbidden":
        return f"unknown field `{place}`"
    if problem["type"] == "missing":
        return f"field `{place}` is missing"
    return f"`{place}` is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _with_absolute_paths(section: BaseModel, folder: Path) -> BaseModel:
    updates: dict[str, object] = {}
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Path):
            updates[name] = (folder / value).resolve()
        elif isinstance(value, BaseModel):
            updates[name] = _with_absolute_paths(value, folder)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            updates[name] = tuple(_with_absolute_paths(item, folder) for item in value)
    return section.model_copy(update=updates)


def _require_paths(recipe: Recipe, path: Path) -> None:
    needed = {"pool.path": recipe.pool.path, "seed_model": recipe.seed_model, "prompts": recipe.prompts}
    needed |= {f"benchmarks.{b.name}.path": b.path for b in recipe.benchmarks if b.path is not None}
    if recipe.judgments.first_annotator is not None:
        needed["judgments.first_annotator"] = recipe.judgments.first_annotator
    for field, target in needed.items():
        if not target.exists():
            raise UserError(f"Recipe {path}: `{field}` names {target}, which does not exist.")
