"""The section `benchmarks` of a recipe: where labelled pairs come from, and how they are read."""

from pydantic import Field, field_validator, model_validator

from selftaught_assets.method.benchmarks import FORMATS
from selftaught_assets.method.benchmarks.items import Ties, label_text
from selftaught_assets.recipe.fields import InputPath, Section, added


class Fields(Section):
    """Which columns of your own data hold what; a field that is left out is in the column of its own name."""

    id: str | None = "id"
    """Must then be unique; null numbers the records."""
    instruction: str | None = None
    """The column of the instruction."""
    response_a: str | None = None
    """The column of the first response."""
    response_b: str | None = None
    """The column of the second response."""
    label: str | None = None
    """The column that says which response is better."""
    chosen: str | None = None
    """With `rejected`, in the format `chosen_rejected`, instead of both responses and the label."""
    rejected: str | None = None
    """The worse response."""
    subset: str | None = None
    """Taken from a column of that name where there is one, as is `reference`."""
    reference: str | None = None
    """A good answer, which the judge is shown."""


class Labels(Section):
    """Which values of the label's column say A, B and tie; a row with any other value has no label.

    Case and surrounding blanks do not matter; 1 and 1.0 are the same, and so are yes, on and true.
    """

    A: bool | int | str
    """The first response is better."""
    B: bool | int | str
    """The second response is better."""
    TIE: bool | int | str | None = None
    """Neither is."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_never_a_fraction(cls, value: object) -> object:
        """1.0 is 1, and no truth value, which it would pass for."""
        if isinstance(value, float):
            return int(value) if value.is_integer() else str(value)
        return value


class Benchmark(Section):
    """Labelled pairs for reporting, never for tuning, from a file, a folder or the hub.

    The exception is the one that `promotion.validation` names, if any: it decides which judges are promoted.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """As results and `--benchmark` name it."""
    path: InputPath | None = None
    """A .jsonl, .jsonl.gz, .json, .parquet or .csv file, or a folder of such files."""
    files: str | None = None
    """Which files of the folder, as a pattern ("**/test-*.parquet"); null takes all."""
    hub: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    """A data set of the hub, instead of `path`."""
    config: str | None = None
    """Of the data set, where it has several."""
    split: str | None = None
    """Of the data set; null reads all its splits."""
    data_dir: str | None = None
    """Folder in the data set's repository, where the data set has several."""
    format: str = "pairs"
    """One of `FORMATS`: `pairs` and `chosen_rejected` are for your own data; the others are published benchmarks."""
    fields: Fields | None = None
    """Column names of your own data."""
    labels: Labels | None = None
    """Label values of your own data, in the format `pairs`."""
    ties: Ties = "drop"
    """`count`: items on which people found no winner are judged too, and a tie is the right verdict."""
    sample: int | None = added(None, ge=1)
    """How many pairs to measure on, for a quick look: whole instructions, of each subset its share, the same ones in
    every recipe. Null takes all of them."""

    @property
    def source(self) -> str:
        """Where it is from, as a sentence names it."""
        return str(self.path or self.hub)

    @property
    def columns(self) -> dict[str, str]:
        """The columns of the fields that the recipe maps."""
        return {} if self.fields is None else self.fields.model_dump(exclude_none=True)

    @property
    def is_numbered(self) -> bool:
        """Whether the records have no ids of their own."""
        return self.fields is not None and self.fields.id is None

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"it must be one of {', '.join(FORMATS)}")
        return name

    @model_validator(mode="after")
    def _is_from_one_place(self) -> "Benchmark":
        if (self.path is None) == (self.hub is None):
            raise ValueError(f"benchmark {self.name} needs exactly one of `path` and `hub`")
        of_path, of_hub = {"files": self.files}, {"config": self.config, "split": self.split, "data_dir": self.data_dir}
        foreign, owner, place = (of_path, "path", "hub") if self.path is None else (of_hub, "hub", "path")
        for field, value in foreign.items():
            if value is not None:
                raise ValueError(f"benchmark {self.name} has `{field}`, which goes with `{owner}`, not with `{place}`")
        return self

    @model_validator(mode="after")
    def _fits_its_format(self) -> "Benchmark":
        form = FORMATS[self.format]
        if self.fields is not None and not form.is_own:
            raise ValueError(f"benchmark {self.name}: the field names of `format: {self.format}` are fixed")
        for field in self.columns:
            if field not in (*form.fields, "subset", "reference"):
                raise ValueError(f"benchmark {self.name}: `format: {self.format}` has no field `{field}`")
        if self.labels is not None and self.format != "pairs":
            raise ValueError(f"benchmark {self.name}: `labels` goes with `format: pairs`, not with {self.format}")
        if self.labels is not None and len({label_text(value) for _, value in self.labels}) < 3:
            raise ValueError(f"benchmark {self.name}: two `labels` have the same value")
        if self.labels is not None and self.labels.TIE is None and self.ties == "count":
            raise ValueError(f"benchmark {self.name}: `ties: count` needs to know which of the `labels` is TIE")
        if self.ties == "count" and not form.has_ties:
            raise ValueError(f"benchmark {self.name}: `format: {self.format}` has no ties to count")
        return self
