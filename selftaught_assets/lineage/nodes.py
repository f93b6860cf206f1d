"""Nodes of a tree: models, verdicts, and what became of a training set.

Which model a digest is: the seed, a checkpoint and its iteration, and which iterations it judges.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from selftaught_assets.lineage.lookup import Row, Tables
from selftaught_assets.lineage.schema import Kind, Model, Node
from selftaught_assets.method.scoring.statistics import wilson_interval
from selftaught_assets.storage.checkpoints import MANIFEST, Manifest, find_current_checkpoint, read_manifest
from selftaught_assets.storage.files import FIRST, require_readable
from selftaught_assets.storage.layout import Layout


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
    except (ValueError, RecursionError, KeyError, TypeError):
        return None


VERDICT_COLUMNS = (
    "benchmark",
    "item_id",
    "order",
    "decoding",
    "judge",
    "label",
    "votes_a",
    "votes_b",
    "votes_tie",
    "votes_invalid",
    "votes_elicited",
    "verdict",
    "score",
)


@dataclass
class Folder:
    """What is read of a data folder for one answer."""

    tables: Tables
    models: Models
    recipe: str
    problems: list[str] = field(default_factory=list)
    _figures: dict[tuple[str | None, str], list[Node]] = field(default_factory=dict)

    def problem(self, sentence: str) -> None:
        """Says it once."""
        if sentence not in self.problems:
            self.problems.append(sentence)

    def evaluations(self, iteration: str | None, digest: str) -> list[Node]:
        """The accuracy of a judge on each benchmark: of an iteration's checkpoint, or of the seed."""
        key = iteration, digest
        if key not in self._figures:
            self._figures[key] = self._evaluate(iteration, digest)
        return self._figures[key]

    def _evaluate(self, iteration: str | None, digest: str) -> list[Node]:
        scan = self.tables.scan("seed_evaluation" if iteration is None else "evaluation", iteration)
        if scan is None:
            return []
        greedy = scan.filter((pl.col("decoding") == "greedy") & (pl.col("judge") == digest))
        counted = greedy.group_by("benchmark").agg(right=pl.col("score").sum(), n=pl.len()).sort("benchmark")
        return [
            node("evaluation", _figures(*row), iteration=iteration)
            for row in self.tables.collect([counted])[0].iter_rows()
        ]


def node(
    kind: Kind,
    facts: dict[str, Any],
    *,
    id: str | None = None,
    iteration: str | None = None,
    children: list[Node] | None = None,
) -> Node:
    """A node that was not asked for."""
    return {
        "kind": kind,
        "id": id,
        "iteration": iteration,
        "asked": False,
        "facts": facts,
        "children": children or [],
    }


def walk(tree: Node) -> Iterator[Node]:
    """The node and all below it, in the order in which they are shown."""
    yield tree
    for child in tree["children"]:
        yield from walk(child)


def training_set(folder: Folder, iteration: str) -> Node:
    """The kept examples of an iteration as one thing, and the checkpoints that were trained on them."""
    made = folder.tables.made("filtered_set", iteration)
    digest = made and made.numbers.get("training_set_digest")
    here = [trained for trained in folder.models.checkpoints if trained.iteration == iteration]
    of_it = [
        trained for trained in here if (trained.manifest.training_set_digest == digest if digest else trained.current)
    ]
    if here and not of_it:
        folder.problem(f"No checkpoint of {iteration} was trained on the current filtered set.")
    facts: dict[str, Any] = {"examples": None, "validation_examples": None}
    if of_it:
        metrics = of_it[-1].manifest.metrics
        facts = {"examples": metrics.examples, "validation_examples": metrics.validation_examples}
        digest = of_it[-1].manifest.training_set_digest
    children = [checkpoint(folder, trained) for trained in of_it]
    return node("training_set", facts, id=digest, iteration=iteration, children=children)


def checkpoint(folder: Folder, trained: Trained) -> Node:
    """A checkpoint, how good it is, and the iterations that it judges."""
    manifest = trained.manifest
    facts = checkpoint_facts(folder, trained)
    children = [*folder.evaluations(trained.iteration, manifest.digest), *judges(folder, manifest.digest)]
    return node("checkpoint", facts, id=manifest.digest, iteration=trained.iteration, children=children)


def checkpoint_facts(folder: Folder, trained: Trained) -> dict[str, Any]:
    """What a manifest says."""
    manifest = trained.manifest
    made = folder.tables.made("filtered_set", trained.iteration)
    now = made and made.numbers.get("training_set_digest")
    return {
        "model": folder.models.of(manifest.digest),
        "base": manifest.base_digest,
        "start": manifest.start_digest,
        "training": manifest.training,
        "train_loss": manifest.metrics.train_loss,
        "validation_loss": manifest.metrics.validation_loss,
        "current": trained.current,
        "same_training_set": now and now == manifest.training_set_digest,
    }


def judges(folder: Folder, digest: str, *, counted: bool = False) -> list[Node]:
    """The iterations that a model judges; with what came of each, where that is asked for."""
    return [
        node("judge", _judged(folder, iteration, digest, counted), id=digest, iteration=iteration)
        for iteration in folder.models.judged_by(digest)
    ]


def verdict(folder: Folder, iteration: str | None, row: Row) -> Node:
    """A row of a table of verdicts."""
    facts = {name: row[name] for name in VERDICT_COLUMNS if name not in ("item_id", "judge", "score")}
    facts |= {"judge": folder.models.of(row["judge"]), "right": bool(row["score"])}
    return node("verdict", facts, iteration=iteration)


def _judged(folder: Folder, iteration: str, digest: str, counted: bool) -> dict[str, Any]:
    facts: dict[str, Any] = dict.fromkeys(("judgments", "right", "examples", "checkpoint"))
    facts["pointer"] = str(folder.models.layout.judge(iteration))
    if not counted:
        return facts
    judgments, examples = (folder.tables.scan(asset, iteration) for asset in ("judgments", "filtered_set"))
    if judgments is not None:
        by_it = judgments.filter(pl.col("judge") == digest)
        (found,) = folder.tables.collect([by_it.select(judgments=pl.len(), right=pl.col("is_correct").sum())])
        facts |= found.row(0, named=True)
    if examples is not None:
        (found,) = folder.tables.collect([examples.select(pl.col("drop_reason").null_count())])
        facts["examples"] = found.item()
    current = [one.manifest.digest for one in folder.models.checkpoints if one.iteration == iteration and one.current]
    return facts | {"checkpoint": current[0] if current else None}


def _figures(benchmark: str, right: float, n: int) -> dict[str, Any]:
    interval = wilson_interval(round(right), n)
    return {"benchmark": benchmark, "accuracy": right / n, "interval": list(interval), "n": n}
