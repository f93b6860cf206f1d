"""The section of a recipe that says how its assets appear in Dagster: keys, groups, owners, tags, automation."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from selftaught_assets.recipe.fields import Name, Section

Group = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*$")]
_OWNER = re.compile(r"team:.+|\w[\w.%+-]*@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}", re.ASCII)
_TAG = re.compile(r"([\w.-]{1,63}/)?[\w.-]{1,63}=[\w.-]{0,63}", re.ASCII)
"""What Dagster takes as a group, an owner, and a tag."""


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise ValueError("an owner is an e-mail address, or a team that begins with `team:`")
    return value


def _tags(values: dict[str, str]) -> dict[str, str]:
    for key, value in values.items():
        if not _TAG.fullmatch(f"{key}={value}"):
            raise ValueError(
                f"{key}: {value} is no tag for Dagster, which takes up to 63 letters, digits, `_`, `-` and `.`, and "
                "one `/` in a key"
            )
    return values


Phase = Literal["sources", "data", "judging", "training", "evaluation"]


class Assets(Section):
    """How the assets of a recipe appear in Dagster. None of it makes anything stale."""

    key_prefix: tuple[Name, ...] = ()
    """What stands before the recipe's name in every asset key, and in the path of its data folder."""
    groups: dict[Phase, Group] = Field({})
    """The group of each phase's assets; `<recipe>_<phase>` where none is given."""
    owners: tuple[Annotated[str, AfterValidator(_owner)], ...] = ("team:evaluators",)
    """E-mail addresses, or names of teams that begin with `team:`."""
    tags: Annotated[dict[str, str], AfterValidator(_tags)] = Field({})
    """On every asset, for search and selection in Dagster's UI."""
    automation: Literal["none", "stopped", "running"] = "stopped"
    """Whether each stage follows its upstream by itself. `stopped`: once the sensor is switched on in the UI;
    `running`: from the start; `none`: there is no sensor."""
