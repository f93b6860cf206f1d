"""Dagster's history in Postgres, as dagster_home/dagster.yaml says: a server of Debian's, in a folder of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from upath import UPath

from selftaught_assets.assets.family import TABLES, Family
from selftaught_assets.assets.history import newest_version
from selftaught_assets.assets.io_manager import TableIOManager
from selftaught_assets.assets.sources import build_instruction_pool
from selftaught_assets.commands.console import opened_instance
from selftaught_assets.errors import UserError
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.tables import read_table, table_version
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.ports import unused_port

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=None)
PASSWORD = "p@ss:w/rd"
AS_ANOTHER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
"""A server of Postgres refuses to be root's."""

needs_a_server = pytest.mark.skipif(
    PROGRAMS is None or not (PROGRAMS / "initdb").is_file(), reason="needs a server of Postgres (apt: postgresql)"
)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    folder = Path(tempfile.mkdtemp(prefix="postgres_", dir="/tmp"))
    password, cluster, port = folder / "password", folder / "cluster", unused_port()
    password.write_text(PASSWORD)
    if AS_ANOTHER:
        for path in (folder, password):
            shutil.chown(path, "postgres")
    made = ["-D", cluster, "-U", "dagster", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync", "--locale=C"]
    subprocess.run([*AS_ANOTHER, PROGRAMS / "initdb", *made], check=True, capture_output=True, cwd=folder)
    served = ["-D", cluster, "-k", folder, "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([*AS_ANOTHER, PROGRAMS / "postgres", *served], stderr=log, stdout=log, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        create = [PROGRAMS / "createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "dagster", "dagster"]
        while subprocess.run(create, env={"PGPASSWORD": PASSWORD}, capture_output=True, cwd="/").returncode:
            assert time.monotonic() < deadline, (folder / "log").read_text()
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(timeout=60)
        shutil.rmtree(folder)


def documented(port: int) -> str:
    """The lines of the shipped dagster.yaml that are commented out, with the port of the server."""
    lines = (ROOT / "dagster_home" / "dagster.yaml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^# storage:\n(?:#   .*\n)+", lines, re.MULTILINE)
    return re.sub(r"^# ", "", block, flags=re.MULTILINE).replace("5432", str(port))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", PASSWORD)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@needs_a_server
def test_a_run_is_recorded_in_postgres_and_read_back(
    port: int, home: Path, small_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    (home / "dagster.yaml").write_text(documented(port), encoding="utf-8")
    recipe = small_recipe()
    family = Family(recipe, Layout(tmp_path / "data", recipe.name))
    pool = build_instruction_pool(family)
    with opened_instance() as instance:
        tables = TableIOManager(base_path=UPath(family.layout.root))
        assert dg.materialize([pool], instance=instance, resources={TABLES: tables}).success
    with opened_instance() as again:
        (run,) = again.get_runs()
        assert run.status == dg.DagsterRunStatus.SUCCESS
        version = newest_version(again, pool.key, None)
        assert again.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert version == table_version(read_table(family.layout.table("instruction_pool")))
    assert not list(home.rglob("*.db"))


@pytest.mark.parametrize(
    ("scheme", "said"),
    [
        ("postgresql", "name the driver, `scheme: postgresql+psycopg2`"),
        ("postgresql+psycopg2", "Connection refused"),
    ],
    ids=["no driver", "no server"],
)
def test_a_database_that_cannot_be_used_is_one_sentence(
    scheme: str, said: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)  # Dagster tries again, and waits longer each time.
    block = yaml.safe_load(documented(unused_port()))
    block["storage"]["postgres"]["postgres_db"]["scheme"] = scheme
    (home / "dagster.yaml").write_text(yaml.safe_dump(block), encoding="utf-8")
    with pytest.raises(UserError) as refused, opened_instance():
        pass
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)


def test_without_the_extra_one_sentence_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_postgres", None)
    (home / "dagster.yaml").write_text(documented(1), encoding="utf-8")
    with pytest.raises(UserError, match=r"install selftaught-assets\[postgres\]\.$"), opened_instance():
        pass
