"""The section `pool` of a recipe: where unlabelled instructions come from, one source or several."""

from pydantic import Field, model_validator

from selftaught_assets.method.pool import FORMATS, Fields, PoolFormat
from selftaught_assets.recipe.engines import SamplingParameters
from selftaught_assets.recipe.fields import InputPath, Name, Section, added


class Magpie(Section):
    """Instructions that the seed model writes itself, from nothing but the opening of a user's turn (arXiv 2406.08464).

    A model that was tuned on conversations then writes what users asked in them.
    """

    count: int = Field(ge=1)
    """How many are written. Repetitions, and those that are cut off, are dropped."""
    sampling: SamplingParameters = SamplingParameters()
    """Hotter ones differ more, and make less sense."""


class Source(Section):
    """Records of one kind, from one place."""

    path: InputPath | None = None
    """A .jsonl, .json, .parquet or .csv file, or a folder of such files; relative to the recipe, like every path in it.
    JSON Lines may be packed (.jsonl.gz)."""
    files: str | None = added(None)
    """Which files of the folder, as a pattern ("**/train-*.parquet"); null takes all."""
    hub: str | None = added(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """A data set of the hub, instead of `path`."""
    config: str | None = added(None)
    """Of the data set, where it has several."""
    split: str | None = added(None)
    """Of the data set; null reads all its splits."""
    data_dir: str | None = added(None)
    """Folder in the data set's repository, where the data set has several."""
    magpie: Magpie | None = added(None)
    """Instead of `path` and `hub`: the seed model writes the instructions."""
    format: PoolFormat = added("text")
    """`text`: a field holds the instruction. `alpaca`: `instruction` with `input`, the text that it is about. Of
    conversations the first turn of the user is taken: `messages` as OpenAI has them (`role`, `content`),
    `conversations` as ShareGPT does (`from`, `value`), `wildchat` as WildChat does."""
    instruction_field: str = "instruction"
    """The field that holds the text, or the conversation; by default `messages`, `conversations` or, of wildchat,
    `conversation` in these formats."""
    input_field: str | None = None
    """A text that the instruction is about, as in Alpaca's data; where it is not empty, it follows the instruction."""
    id_field: str | None = None
    """Your own ids, which must differ; `selftaught trace` finds them. In the format wildchat `conversation_hash`."""
    category_field: str | None = None
    """Needed for `instructions.categories`."""
    keep: dict[str, tuple[bool | int | str, ...]] = added({})
    """Only records whose field has one of these values: `keep: {language: [English], toxic: [false], turn: [1]}`."""

    @property
    def fields(self) -> Fields:
        """Where the instruction, its input and its id stand."""
        usual = FORMATS[self.format]
        said = self.model_fields_set
        return usual._replace(
            instruction=self.instruction_field if "instruction_field" in said else usual.instruction,
            input=self.input_field if "input_field" in said else usual.input,
            id=self.id_field if "id_field" in said else usual.id,
        )

    @property
    def label(self) -> str:
        """What the column `source` calls it."""
        if self.path is not None:
            return self.path.name
        return "magpie" if self.hub is None else self.hub.rpartition("/")[2]

    @property
    def place(self) -> str:
        """Where it is from, as a sentence names it."""
        return str(self.path or self.hub or "written by the seed model")

    @property
    def places(self) -> int:
        """How many places it names."""
        return sum(place is not None for place in (self.path, self.hub, self.magpie))

    @model_validator(mode="after")
    def _reads_different_fields(self) -> "Source":
        if self.fields.input == self.fields.instruction:
            raise ValueError("pool.input_field and pool.instruction_field are one field")
        return self

    @model_validator(mode="after")
    def _belongs_together(self) -> "Source":
        if self.magpie is not None and (more := sorted(self.model_fields_set - {"magpie", "name", "path", "hub"})):
            raise ValueError(f"pool.{more[0]} has no meaning beside pool.magpie: leave it out")
        if self.fields.is_conversation and self.input_field is not None:
            raise ValueError(f"pool.input_field has no meaning in `format: {self.format}`: leave it out")
        of_path, of_hub = {"files": self.files}, {"config": self.config, "split": self.split, "data_dir": self.data_dir}
        for place, fields in (("path", of_path), ("hub", of_hub)):
            for field, value in fields.items():
                if value is not None and getattr(self, place) is None:
                    raise ValueError(f"pool.{field} goes with `{place}`, which is not there")
        return self


class NamedSource(Source):
    """One of several sources."""

    name: Name
    """As `trace`, the column `source` and `instructions.shares` name it."""

    @property
    def label(self) -> str:
        """Its name."""
        return self.name

    @model_validator(mode="after")
    def _is_from_one_place(self) -> "NamedSource":
        if self.places != 1:
            raise ValueError(f"the source {self.name} of the pool needs exactly one of `path`, `hub` and `magpie`")
        return self


class Pool(Source):
    """Unlabelled instructions, from one source, or from `sources`."""

    sources: tuple[NamedSource, ...] = added(())
    """Several sources, each with a name, instead of the fields above."""

    @property
    def every(self) -> tuple[Source, ...]:
        """Its sources: itself, where it is one."""
        return self.sources or (self,)

    @property
    def is_written(self) -> bool:
        """Whether the seed model writes a part of it."""
        return any(source.magpie is not None for source in self.every)

    @property
    def has_categories(self) -> bool:
        """Whether any source names a field with categories."""
        return any(source.category_field is not None for source in self.every)

    @model_validator(mode="after")
    def _is_one_or_several(self) -> "Pool":
        alone = sorted(self.model_fields_set - {"sources"})
        if self.sources and alone:
            raise ValueError(f"pool.{alone[0]} belongs to one source: write it into each of pool.sources")
        if not self.sources and self.places != 1:
            raise ValueError("pool needs exactly one of `path`, `hub`, `magpie` and `sources`")
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("two sources of the pool have the same name")
        return self
