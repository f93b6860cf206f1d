"""Which recipe file a data folder belongs to, so that a second recipe of the same name does not write over its tables.

The first file that makes anything in a folder owns it, and its content may change as it likes. A folder that was moved
or copied is free again. Another file takes it over where nothing is lost by it: the owner is gone or has another name,
or it is a shipped recipe, before which a project's own recipe of that name comes anyway. One that says the same as the
owner may work there too, as long as it does.
"""

from pathlib import Path

from selftaught_assets.errors import UserError
from selftaught_assets.recipe import RECIPES_FOLDER, Recipe, load_recipe
from selftaught_assets.staleness import STAGES, basis_of
from selftaught_assets.storage.files import Record, read_record, written_aside
from selftaught_assets.storage.layout import Layout


class Owner(Record):
    """The recipe file that made what lies in a data folder."""

    recipe: str
    """Its path."""
    folder: str
    """Where the data folder was then."""


def claim(recipe: Recipe, layout: Layout) -> None:
    """Makes a recipe file the owner of its data folder, unless it is so already. To be asked before anything is made.

    Raises:
        UserError: the folder belongs to another recipe file, which says something else under the same name.
    """
    if recipe.file is None:
        return
    own, owner = Owner(recipe=str(recipe.file), folder=str(layout.folder.resolve())), _owner(layout)
    if owner == own:
        return
    if owner is not None and owner.folder == own.folder and _has_the_name(Path(owner.recipe), recipe):
        difference = _difference(recipe, owner.recipe)
        if difference is None:
            return
        raise UserError(
            f"The tables in {layout.folder} are those of the recipe {owner.recipe}, and {own.recipe} has the same name "
            f"and {difference}: give it another `name`, or another SELFTAUGHT_DATA; or delete {layout.owner} if it is "
            "to go on in the place of the other."
        )
    with written_aside(layout.owner) as aside:
        aside.write_text(own.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _owner(layout: Layout) -> Owner | None:
    """Who owns a data folder; None if nobody does, or the file that says so is damaged."""
    try:
        return read_record(Owner, layout.owner.read_bytes(), layout.owner)
    except (FileNotFoundError, ValueError):
        return None


def _has_the_name(owner: Path, recipe: Recipe) -> bool:
    """Whether the owner's file is still there and, as far as it can be read, is still for the same folder."""
    if not owner.is_file() or owner.is_relative_to(RECIPES_FOLDER.resolve()):
        return False
    try:
        return load_recipe(str(owner)).key_prefix == recipe.key_prefix
    except UserError:
        return True


def _difference(recipe: Recipe, owner: str) -> str | None:
    """What sets a recipe apart from that in the owner's file, as a clause; None if results are the same."""
    try:
        theirs = load_recipe(owner)
    except UserError as error:
        return f"cannot be compared with it ({str(error).rstrip('.')})"
    for stage in STAGES:
        ours, others = (basis_of(one, stage).settings for one in (recipe, theirs))
        if changed := [setting for setting in ours if ours[setting] != others.get(setting)]:
            return f"another `{changed[0]}`"
    return None
