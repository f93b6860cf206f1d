"""Every record on disk: one of a newer release is refused in one sentence, one without a version is of version 1."""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.judge.references import DESCRIPTION, Description, find_judge
from selftaught_assets.lineage.nodes import Models
from selftaught_assets.recipe.stages import Evaluation, Verdicts
from selftaught_assets.review.answers import append_answer, read_answers
from selftaught_assets.staleness import Basis
from selftaught_assets.storage.checkpoints import (
    CURRENT,
    MANIFEST,
    find_checkpoint,
    promotion_path,
    read_current,
    read_manifest,
    read_promotion,
    write_current,
    write_promotion,
)
from selftaught_assets.storage.files import read_progress, write_progress
from selftaught_assets.storage.journal import Journal
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import ModelReference, read_pointer, write_pointer
from selftaught_assets.storage.stored import stored
from selftaught_assets.storage.tables import KEY, read_provenance, write_table
from selftaught_assets_tests.lineage.made import FIRST, PAIRS, provenance
from selftaught_assets_tests.review.test_answers import _answer
from selftaught_assets_tests.storage.rows import completions, found
from selftaught_assets_tests.storage.test_checkpoints import _write
from selftaught_assets_tests.storage.test_progress import SAMPLING
from selftaught_assets_tests.storage.test_promotions import REFUSED

Written = tuple[Path, Callable[[], object]]


def manifest(folder: Path) -> Written:
    checkpoint = _write(folder / "one")
    return checkpoint / MANIFEST, lambda: read_manifest(checkpoint)


def manifest_of_whole_weights(folder: Path) -> Written:
    checkpoint = _write(folder / "one")
    return checkpoint / MANIFEST, lambda: find_checkpoint(checkpoint)


def pointer(folder: Path) -> Written:
    path = Layout(folder, "small").judge(FIRST)
    write_pointer(path, ModelReference(folder, None, "d" * 64), root=folder)
    return path, lambda: read_pointer(path, root=folder)


def pointer_in_lineage(folder: Path) -> Written:
    path, _ = pointer(folder)
    return path, lambda: Models(Layout(folder, "small"), folder).judges


def promotion(folder: Path) -> Written:
    write_promotion(folder, REFUSED)
    return promotion_path(folder, REFUSED.checkpoint), lambda: read_promotion(folder, REFUSED.checkpoint)


def progress(folder: Path) -> Written:
    path = folder / "stage.json"
    write_progress(path, SAMPLING)
    return path, lambda: read_progress(path)


def review(folder: Path) -> Written:
    layout = Layout(folder, "small")
    append_answer(layout, _answer())
    return layout.reviews("pairs"), lambda: read_answers(layout, "pairs")


def current(folder: Path) -> Written:
    path = folder / "checkpoint" / FIRST / CURRENT
    model = ModelReference(folder, _write(path.parent / "one"), "d" * 64)
    write_current(path, model, Basis(code=1, settings={}))
    return path, lambda: read_current(path)


def current_in_lineage(folder: Path) -> Written:
    path, _ = current(folder / "small")
    return path, lambda: Models(Layout(folder, "small"), folder).checkpoints


def pointer_in_what_is_stored(folder: Path) -> Written:
    path, _ = pointer(folder)
    return path, lambda: stored(Layout(folder, "small"), "judge", FIRST)


RECORDS = [
    current,
    current_in_lineage,
    pointer_in_what_is_stored,
    manifest,
    manifest_of_whole_weights,
    pointer,
    pointer_in_lineage,
    promotion,
    progress,
    review,
]


def rewrite(path: Path, version: int | None) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    del record["schema_version"]
    path.write_text(json.dumps(record | ({} if version is None else {"schema_version": version, "new": [1]})))


@pytest.mark.parametrize("write", RECORDS)
def test_record_of_a_newer_release_is_one_sentence(write: Callable[[Path], Written], tmp_path: Path) -> None:
    path, read = write(tmp_path)
    rewrite(path, 7)
    with pytest.raises(UserError, match=r"was written by a newer release .*schema version 7; .*upgrade") as refused:
        read()
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("write", RECORDS)
def test_record_without_a_version_is_read(write: Callable[[Path], Written], tmp_path: Path) -> None:
    path, read = write(tmp_path)
    rewrite(path, None)
    assert read()


def test_exported_judge_of_a_newer_release_is_one_sentence(tmp_path: Path, small_recipe) -> None:
    own = Description(
        judge="seed", recipe="small", digest="d", base_digest="d", seed=1, verdicts=Verdicts(), evaluation=Evaluation()
    )
    path = tmp_path / DESCRIPTION
    path.write_text(own.model_dump_json())
    rewrite(path, 2)
    with pytest.raises(UserError, match=rf"{path} was written by a newer release"):
        find_judge(str(tmp_path), small_recipe(), Layout(tmp_path, "small"))


def test_table_that_a_newer_release_made_does_not_count_as_made_nobody_knows_how(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    write_table(path, PAIRS, provenance("pairs", FIRST, "v1"))
    record = json.loads(pl.read_parquet_metadata(path)[KEY])
    PAIRS.write_parquet(path, metadata={KEY: json.dumps(record | {"schema_version": 2})})
    with pytest.raises(UserError, match="newer release"):
        read_provenance(path)
    PAIRS.write_parquet(path, metadata={KEY: json.dumps({k: v for k, v in record.items() if k != "schema_version"})})
    assert read_provenance(path) == provenance("pairs", FIRST, "v1")


def test_journal_of_a_newer_release_is_refused_and_nothing_in_it_set_aside(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(completions("a"))
    newer = tmp_path / "00000000000000000001-0123456789ab.v2.parquet"
    completions("b").with_columns(new=pl.lit(1)).write_parquet(newer)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=rf"The shard {newer} was written by a newer release"):
        found(journal, "a")
    assert sorted(tmp_path.iterdir()) == before


def test_decision_of_the_first_version_says_that_its_test_was_another(tmp_path: Path) -> None:
    path, _ = promotion(tmp_path)
    rewrite(path, None)
    assert not read_promotion(tmp_path, REFUSED.checkpoint).clustered
    write_promotion(tmp_path, REFUSED)
    assert read_promotion(tmp_path, REFUSED.checkpoint).clustered
