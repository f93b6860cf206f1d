"""Tokenizers that fit into memory: `tokenizers` ends the process where there is no more, which nothing can catch.

A file of a megabyte can ask for all of it: by an id of two billion, by a token of millions of characters, of which each
becomes a node, or by replacements of which each makes a text a hundred times as long.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selftaught_assets.errors import UserError
from selftaught_assets.model_files import read_json

_MOST_ADDED, _LARGEST_ID, _LONGEST = 200_000, 10_000_000, 10_000
"""Added tokens, ids and characters of a token: ten times those of any tokenizer in use."""
_MOST_GROWTH = 1_000


def require_bounded_tokenizer(folder: Path) -> None:
    """Refuses the tokenizer.json of a model folder, if there is one, that is far larger than any in use.

    What has no known form is left to those who read it.

    Raises:
        UserError: it is damaged, or has too large ids, tokens or replacements.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    content = read_json(path, "copy the model again")
    added = _listed(content.get("added_tokens"))
    if len(added) > _MOST_ADDED or any(
        len(str(token)) > _LONGEST or (isinstance(number, int) and number > _LARGEST_ID)
        for token, number in _tokens(content.get("model"), added)
    ):
        raise UserError(
            f"{path} has more than {_MOST_ADDED:,} added tokens, an id above {_LARGEST_ID:,} or a token of more than "
            f"{_LONGEST:,} characters: copy the model again."
        )
    if max(_growth(content.get(part)) for part in ("normalizer", "decoder")) > _MOST_GROWTH:
        raise UserError(
            f"{path} replaces a text by one of more than {_MOST_GROWTH:,} times its length: copy the model again."
        )


def _tokens(model: object, added: list[Any]) -> Iterator[tuple[object, object]]:
    """Every token with its id, or with whatever stands there."""
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    for entry in _listed(vocabulary):  # Unigram: pieces with their scores.
        yield (entry[0] if isinstance(entry, list) and entry else None), None
    for token in added:
        if isinstance(token, dict):
            yield token.get("content"), token.get("id")


def _growth(step: object) -> int:
    """How many times as long a normalizer or decoder may make a text by what it writes."""
    if not isinstance(step, dict):
        return 1
    parts = [*_listed(step.get("normalizers")), *_listed(step.get("decoders"))]
    written = [text for name in ("content", "prepend") if isinstance(text := step.get(name), str)]
    return math.prod([*map(_growth, parts), *(max(1, len(text)) for text in written)])


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
