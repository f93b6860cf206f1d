"""Which model a digest is: the seed, a checkpoint and its iteration, and which iterations it judges.

Belongs here: what manifests and pointer files say. Not here: rows of tables (tables.py), and hashing weights, which
takes minutes for a large model: only what was written down is used.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from selftaught_assets.lineage.schema import Model
from selftaught_assets.storage.checkpoints import MANIFEST, Manifest, find_current_checkpoint, read_manifest
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.schema import FIRST, require_readable


class Trained(NamedTuple):
    """A finished checkpoint."""

    iteration: str
    folder: Path
    manifest: Manifest
    current: bool
    """Whether it is the current one of its iteration."""


class Pointer(NamedTuple):
    """What the file says that names the judge of an iteration. The folders may be gone."""

    digest: str
    base: Path
    is_full_model: bool
    """Not a checkpoint."""


@dataclass(frozen=True)
class Models:
    """The models of a data folder."""

    layout: Layout
    seed_model: Path
    """Of the recipe as it is today, where no file names the folder."""

    @cached_property
    def checkpoints(self) -> list[Trained]:
        """All finished checkpoints, by iteration."""
        found = []
        for folder in sorted((self.layout.folder / "checkpoint").glob("iteration_*")):
            current = find_current_checkpoint(folder)
            for path in sorted(folder.glob(f"[!.]*/{MANIFEST}")):
                manifest = read_manifest(path.parent)
                if manifest is not None:
                    found.append(Trained(folder.name, path.parent, manifest, path.parent == current))
        return found

    @cached_property
    def judges(self) -> dict[str, Pointer]:
        """By iteration: its judge."""
        paths = sorted((self.layout.folder / "judge").glob("iteration_*.json"))
        pointers = {path.stem: _pointer(path, self.layout.root) for path in paths}
        return {iteration: pointer for iteration, pointer in pointers.items() if pointer is not None}

    def of(self, digest: str) -> Model:
        """What is known of a model."""
        for trained in self.checkpoints:
            if trained.manifest.digest == digest:
                return _model(digest, "checkpoint", trained.iteration, trained.folder)
        for pointer in self.judges.values():
            if pointer.digest == digest and pointer.is_full_model:
                return _model(digest, "seed", None, pointer.base)
        bases = {trained.manifest.base_digest for trained in self.checkpoints}
        return _model(digest, "seed", None, self.seed_model) if digest in bases else _model(digest, "unknown")

    def judged_by(self, digest: str) -> list[str]:
        """The iterations that a model judges."""
        return [iteration for iteration, pointer in self.judges.items() if pointer.digest == digest]

    def digests(self) -> set[str]:
        """Of all models that a file here names."""
        named = {pointer.digest for pointer in self.judges.values()}
        manifests = [trained.manifest for trained in self.checkpoints]
        return named.union(*({one.digest, one.base_digest, one.start_digest} for one in manifests))


def _model(digest: str, role: str, iteration: str | None = None, path: Path | None = None) -> Model:
    return {"digest": digest, "role": role, "iteration": iteration, "path": None if path is None else str(path)}


def _pointer(path: Path, root: Path) -> Pointer | None:
    """What a pointer says; None where it is damaged, which `judge` says when it is next used."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        require_readable(content, FIRST, path)
        return Pointer(content["digest"], root / content["base"], content["adapter"] is None)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return None
