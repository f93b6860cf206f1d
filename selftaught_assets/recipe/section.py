"""What all sections of a recipe have in common. Not here: any one of them."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of a recipe: it never changes, and has no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
