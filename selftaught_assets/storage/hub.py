"""Reading a data set of the Hugging Face hub, through `datasets`.

Belongs here: the hub's rows as records, and one sentence within seconds where there is no hub. Not here: local files
(records.py).
"""

import urllib.error
import urllib.request
from collections.abc import Iterator

from selftaught_assets.errors import UserError
from selftaught_assets.storage.records import Record

PATIENCE_SECONDS = 5.0
"""How long the hub may take to answer at all; `datasets` by itself tries for half a minute."""


def read_hub(
    name: str, required: tuple[str, ...], *, config: str | None, split: str | None, data_dir: str | None
) -> Iterator[Record]:
    """The rows of a data set, split by split.

    It is read over the network once; after that from the cache of `datasets`. With `HF_HUB_OFFLINE=1` only the cache is
    asked.

    Args:
        name: owner and name, "allenai/reward-bench".
        required: columns that it must have.
        config: one of several configurations of the data set; None is its default.
        split: one split; None reads all of them.
        data_dir: folder within the data set's repository; None is the data set's default.

    Raises:
        UserError: the hub cannot be reached, there is no such data set, configuration or split, or a column is missing.
    """
    import datasets

    if not datasets.config.HF_HUB_OFFLINE:
        _require_answer(datasets.config.HF_ENDPOINT, name)
    try:
        loaded = datasets.load_dataset(name, config, split=split, data_dir=data_dir)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The data set {name} cannot be read from the hub ({reason}): {_INSTEAD}.") from None
    splits = {None: loaded} if split is not None else dict(loaded)
    for part, rows in splits.items():
        missing = [field for field in required if field not in rows.column_names]
        if missing:
            raise UserError(
                f"The data set {name}: the column {missing[0]!r} is missing; it has {', '.join(rows.column_names)}."
            )
        for number, row in enumerate(rows, start=1):
            yield Record(f"{name}, split {part or split}", f"row {number}", part if len(splits) > 1 else None, row)


_INSTEAD = "download it where there is a network and give its file or folder as `path`, not `hub`"


def _require_answer(hub: str, name: str) -> None:
    """One short request: whatever the hub answers, it is there."""
    try:
        urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=PATIENCE_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        cached = "set HF_HUB_OFFLINE=1 if it has been read here before"
        raise UserError(f"The hub {hub} cannot be reached for {name} ({reason}): {_INSTEAD}, or {cached}.") from None
