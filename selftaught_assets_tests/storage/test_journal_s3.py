"""The journal in an object store: a real server of S3 on this machine, through fsspec."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import pytest
import requests
from s3fs import S3FileSystem
from upath import UPath

from selftaught_assets.engines.journalled import generate
from selftaught_assets.errors import UserError
from selftaught_assets.storage.journal import Journal, compact, contents
from selftaught_assets_tests.engines.test_journalled import SAMPLING, TASKS, Echo, ignore
from selftaught_assets_tests.storage.rows import completions, found


def names(bucket: UPath) -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="bucket", Prefix=f"{bucket.path.partition('/')[2]}/")
    return sorted(entry["Key"].rpartition("/")[2] for entry in listed.get("Contents", []))


def overwrite(bucket: UPath, name: str, change: Callable[[bytes], bytes]) -> None:
    store, place = boto3.client("s3"), {"Bucket": "bucket", "Key": f"{bucket.path.partition('/')[2]}/{name}"}
    store.put_object(**place, Body=change(store.get_object(**place)["Body"].read()))


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """Clients are made again within the test, with its environment, and none of them outlives it."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


def test_an_empty_prefix_is_an_empty_journal(bucket: UPath) -> None:
    assert found(Journal(bucket), "a").is_empty()
    assert compact(Journal(bucket)).shards_after == 0


def test_each_append_is_one_object_and_is_found_by_other_processes(bucket: UPath) -> None:
    writer, reader = Journal(bucket), Journal(bucket)
    for key in "abc":
        writer.append(completions(key))
        assert found(reader, key, "z").equals(completions(key))
    assert found(writer, "a", "b", "c").equals(completions("a", "b", "c"))
    assert len(names(bucket)) == 3


def test_a_truncated_and_a_foreign_object_are_set_aside_and_named(
    bucket: UPath, caplog: pytest.LogCaptureFixture
) -> None:
    for key in "abc":
        Journal(bucket).append(completions(key))
    truncated, foreign, _ = names(bucket)
    overwrite(bucket, truncated, lambda content: content[:-100])
    overwrite(bucket, foreign, lambda _: b"no Parquet, but somebody's notes")
    journal = Journal(bucket)
    with caplog.at_level(logging.WARNING):
        assert found(journal, "a", "b", "c").equals(completions("c"))
    assert {name for name in names(bucket) if name.endswith(".corrupt")} == {
        f"{truncated}.corrupt",
        f"{foreign}.corrupt",
    }
    assert f"{bucket}/{truncated}" in caplog.text
    assert f"{bucket}/{foreign}" in caplog.text
    assert contents(journal).set_aside == 2
    journal.append(completions("a", "b"))
    assert found(journal, "a", "b", "c").equals(completions("a", "b", "c"))


def test_merging_leaves_one_object(bucket: UPath) -> None:
    journal, reader = Journal(bucket), Journal(bucket)
    for key in "abca":
        journal.append(completions(key))
    assert found(reader, "a").equals(completions("a"))
    done = compact(Journal(bucket))
    assert (done.shards_before, done.shards_after, done.dropped) == (4, 1, 2)
    assert len(names(bucket)) == 1
    for one in (journal, reader, Journal(bucket)):
        assert found(one, "a", "b", "c").equals(completions("a", "b", "c"))


def test_an_object_is_copied_here_once(bucket: UPath) -> None:
    for key in "abc":
        Journal(bucket).append(completions(key))
    journal = Journal(bucket)
    found(journal, "a")
    for copy in journal.files.on_disk(names(bucket)):
        assert copy.stat().st_size > 0
        copy.touch()
    copies = {copy: copy.stat().st_mtime_ns for copy in journal.files.on_disk(names(bucket))}
    Journal(bucket).append(completions("d"))
    assert found(journal, "d", "a").equals(completions("a", "d"))
    assert {copy: copy.stat().st_mtime_ns for copy in copies} == copies
    folder = next(iter(copies)).parent
    del journal
    assert not folder.exists()


def test_generation_resumes_and_samples_only_what_is_missing(bucket: UPath, tmp_path: Path) -> None:
    undisturbed = generate(Echo(), Journal(tmp_path), TASKS, SAMPLING, ignore)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate(Echo(fail_after=50), Journal(bucket), TASKS, SAMPLING, ignore)
    resumed = generate(Echo(), Journal(bucket), TASKS, SAMPLING, ignore)
    assert resumed.sampled.completions == 40
    assert resumed.frame.equals(undisturbed.frame)
    more = generate(Echo(), Journal(bucket), [replace(task, n=4) for task in TASKS], SAMPLING, ignore)
    assert more.sampled.completions == 30


def test_a_bucket_that_is_not_there_is_one_sentence(object_store: str) -> None:
    journal = Journal(UPath("s3://nowhere-at-all/prefix"))
    for use in (lambda: found(journal, "a"), lambda: journal.append(completions("a")), lambda: compact(journal)):
        with pytest.raises(UserError, match=r"s3://nowhere-at-all/prefix cannot be used \(The specified bucket"):
            use()


def test_a_refusal_is_one_sentence_without_the_secret(object_store: str, bucket: UPath, fresh_clients: None) -> None:
    Journal(bucket).append(completions("a"))
    requests.post(f"{object_store}/moto-api/reset-auth", data="0", timeout=10)  # From now on it knows nobody.
    try:
        with pytest.raises(UserError, match="Access Key Id you provided does not exist") as refused:
            found(Journal(bucket), "a")
        with pytest.raises(UserError, match="Access Key Id you provided does not exist"):
            Journal(bucket).append(completions("a"))
    finally:
        requests.post(f"{object_store}/moto-api/reset-auth", data="inf", timeout=10)
    assert "tester" not in str(refused.value)
    assert "not secret" not in str(refused.value)


def test_missing_credentials_are_one_sentence(
    bucket: UPath, fresh_clients: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="Unable to locate credentials"):
        found(Journal(UPath("s3://bucket/elsewhere")), "a")


def test_a_server_that_does_not_answer_is_one_sentence(
    bucket: UPath, fresh_clients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(UserError, match="Could not connect to the endpoint URL"):
        found(Journal(UPath("s3://bucket/elsewhere")), "a")


def test_without_its_package_the_sentence_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['s3fs'] = None; from upath import UPath; "
        "from selftaught_assets.storage.journal import Journal; Journal(UPath('s3://bucket/prefix'))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("selftaught_assets.errors.UserError: The journal s3://bucket/prefix")
    assert done.stderr.endswith(": pip install 'selftaught-assets[s3]'.\n")
