"""One experiment: all sections of a recipe, and what must fit together among them."""

from datetime import date as Date
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr, model_validator

from selftaught_assets.errors import UserError
from selftaught_assets.input_files import LARGEST_SETTINGS, text_of
from selftaught_assets.method.prompts import TEMPLATE_NAMES, PromptTemplates
from selftaught_assets.method.scoring.held_out import HELD_OUT
from selftaught_assets.recipe.assets import Assets
from selftaught_assets.recipe.benchmarks import Benchmark
from selftaught_assets.recipe.checks import Checks
from selftaught_assets.recipe.engines import TEMPLATE_DATE, EngineSettings, Place, TransformersSettings, require_place
from selftaught_assets.recipe.fields import BY_CONTENT, InputPath, LocalPath, Name, Section
from selftaught_assets.recipe.pool import Pool
from selftaught_assets.recipe.stages import (
    Evaluation,
    Filter,
    Instructions,
    Judgments,
    Pairs,
    Price,
    PromotionSettings,
    Training,
    Verdicts,
)

PROMPTS_FOLDER = Path(__file__).resolve().parent.parent / "prompts"


class JudgeSettings(Section):
    """How a judge is asked. All of it goes with an exported judge, which therefore needs no recipe."""

    name: Name
    """Of the recipe that the judge comes from; its completions are stored under this name."""
    seed: int = Field(1, ge=0)
    """Of every random draw."""
    prompts: LocalPath = PROMPTS_FOLDER
    """Folder with the prompt templates (Jinja2): response, modified_instruction, modified_pair, judge; and score, where
    `judgments.form` is single."""
    template_date: Date = TEMPLATE_DATE
    """The date given to chat templates that ask for one (Llama 3.1, Granite), the same on every day: with today's,
    prompts would change every day, and the journal would find none of them. The default is the one that the
    template of Llama falls back to."""
    engine: EngineSettings = TransformersSettings()
    """How text is sampled; one line is enough (`engine: vllm`). Changing it makes nothing stale."""
    judgments: Judgments = Judgments()
    """How the current judge is sampled."""
    verdicts: Verdicts = Verdicts()
    """How a verdict is asked for and read."""
    evaluation: Evaluation = Evaluation()
    """How a judge is measured."""

    @cached_property
    def templates(self) -> PromptTemplates:
        """The prompt templates, as text, without a byte order mark.

        Raises:
            UserError: a file of the folder is missing that the form needs, or is not UTF-8.
        """
        texts = {}
        for name in TEMPLATE_NAMES:
            path = self.prompts / f"{name}.jinja"
            if path.is_file():
                try:
                    texts[name] = text_of(path, LARGEST_SETTINGS)
                except UnicodeDecodeError:
                    raise UserError(
                        f"Recipe {self.name}: the prompt template {path} is not UTF-8; save it in that encoding."
                    ) from None
            elif name != "score" or self.judgments.form == "single":
                raise UserError(
                    f"Recipe {self.name}: the prompt template {path} does not exist; add it or drop `prompts`."
                )
        return PromptTemplates(**texts)


class Recipe(JudgeSettings):
    """One experiment: what is trained on, with which model, how, and how the result is measured."""

    name: Name
    """The last part of the key prefix of its assets, and of the folder of its data."""
    iterations: int = Field(5, ge=1, le=99)
    """Most of the gain comes with the first; each costs as much as the one before."""
    pool: Pool
    """The unlabelled instructions."""
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)
    """Labelled pairs. `selftaught results` prints the first unless told otherwise."""
    seed_model: InputPath
    """A folder as saved by `save_pretrained`: safetensors, tokenizer, chat template. It writes the pairs and is the
    first judge, and training starts from it."""
    try_training: bool = True
    """Whether training is tried on two examples before anything is sampled, once for each model and training section:
    a model that cannot be trained is then found before an iteration is paid for. It takes as long as loading it."""
    price: Price | None = None
    """What sampling costs; the sampling assets then report it."""
    journal: Place | None = None
    """Where completions are stored: a folder, or an address such as s3://bucket/prefix, for machines that share no
    disk. Null is the data folder. In an object store each append is one upload, and each stage first copies its journal
    here; recipes may share one, and then share their completions."""
    instructions: Instructions = Instructions()
    """Which instructions an iteration works on."""
    pairs: Pairs = Pairs()
    """How preference pairs are written."""
    filter: Filter = Filter()
    """Which judgments are trained on."""
    training: Training = Training()
    """How the next judge is fine-tuned."""
    promotion: PromotionSettings = PromotionSettings()
    """Which checkpoints may judge."""
    checks: Checks = Checks()
    """Thresholds at which data counts as suspicious; no asset depends on them."""
    assets: Assets = Assets()
    """How its assets appear in Dagster; what they hold does not depend on it."""
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """Where it was read from; None where it was made in Python. No result depends on it."""
        return self._file

    @property
    def key_prefix(self) -> tuple[str, ...]:
        """Of all asset keys, and of the data folder: two recipes of one prefix would be the same to Dagster."""
        return (*self.assets.key_prefix, self.name)

    def dagster_name(self, part: str) -> str:
        """The name of a job, a sensor or a group, such as `demo_iteration`; no other key prefix gives the same."""
        return f"{'__'.join(self.key_prefix)}_{part}"

    @model_validator(mode="after")
    def _the_journal_has_a_place(self) -> "Recipe":
        require_place(self.journal)
        return self

    @model_validator(mode="after")
    def _shares_are_those_of_the_sources(self) -> "Recipe":
        shares, names = self.instructions.shares, [source.name for source in self.pool.sources]
        if shares is not None and sorted(shares) != sorted(names):
            listed = ", ".join(names) or "none, since it is one source"
            raise ValueError(f"instructions.shares must name each source of the pool once, and they are: {listed}")
        return self

    @model_validator(mode="after")
    def _benchmark_names_differ(self) -> "Recipe":
        names = [benchmark.name for benchmark in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError("two benchmarks have the same name")
        if HELD_OUT in names:
            raise ValueError(
                f"a benchmark is named {HELD_OUT}, which stands for the held-out synthetic pairs: give it another name"
            )
        return self

    @model_validator(mode="after")
    def _validation_is_a_benchmark(self) -> "Recipe":
        names = [benchmark.name for benchmark in self.benchmarks]
        validation = self.promotion.validation
        if validation is not None and validation not in names:
            raise ValueError(
                f"promotion.validation names the benchmark {validation!r}, but there is only {', '.join(names)}"
            )
        if self.promotion.compares and validation is None:
            wanted = "stop_when_flat" if self.promotion.rule == "always" else f"rule: {self.promotion.rule}"
            raise ValueError(
                f"promotion.{wanted} needs promotion.validation, the name of a benchmark to compare judges on; "
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
            raise ValueError("judgments.positions: both has no meaning if judgments.form is single; leave it out")
        if self.judgments.form == "single" and self.verdicts.elicit != "never":
            raise ValueError(
                "verdicts.elicit: missing draws a single token, and the ratings 1 and 10 may begin with the same one: "
                "leave it out if judgments.form is single"
            )
        if self.judgments.form == "single" and self.evaluation.attacks:
            raise ValueError("evaluation.attacks needs two responses: leave it out if judgments.form is single")
        return self

    @model_validator(mode="after")
    def _a_tie_that_counts_can_be_given(self) -> "Recipe":
        counting = [benchmark.name for benchmark in self.benchmarks if benchmark.ties == "count"]
        if counting and self.judgments.form == "pairwise" and not self.verdicts.ties:
            raise ValueError(
                f"benchmark {counting[0]}: `ties: count` needs verdicts.ties: true, so that the judge is offered a tie"
            )
        return self

    @property
    def stops_when_right(self) -> bool:
        """Whether sampling of a pair stops at its first right judgment (method/judging.py)."""
        return self.judgments.stop == "first_correct" and self.judgments.form == "pairwise"

    def settings(self, *sections: str) -> dict[str, object]:
        """What the recipe says in these sections, and its seed, as JSON has it; `prompts` are texts, not a path.

        What renders prompts, to sample or to train, depends on the date that chat templates are told as well.
        """
        renders = {"template_date"} if {"prompts", "training"} & set(sections) else set()
        values = self.model_dump(mode="json", include={"seed", *sections} | renders)
        if "prompts" in sections:
            unused = {"score"} if self.judgments.form == "pairwise" else set()
            values["prompts"] = {name: text for name, text in self.templates._asdict().items() if name not in unused}
        return values

    def contents(self, section: str) -> Any:
        """What the recipe says in a section, as JSON has it, with the content of files and folders for their paths."""
        if section == "prompts":
            return self.settings("prompts")["prompts"]
        return self.model_dump(mode="json", include={section}, context=BY_CONTENT)[section]
