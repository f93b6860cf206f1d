import socket
from pathlib import Path

import pytest

from selftaught_assets.commands.project import init, ui
from selftaught_assets.errors import UserError
from selftaught_assets.recipe import loading


def test_a_clone_without_symbolic_links_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").write_text("../../recipes", encoding="utf-8")  # What git writes for a link.
    monkeypatch.setattr(loading, "SHIPPED", tmp_path)
    monkeypatch.setattr(loading, "RECIPES_FOLDER", tmp_path / "recipes")
    with pytest.raises(UserError, match=r"is not whole: in a clone, run `git config core\.symlinks true`"):
        init(tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_a_port_that_is_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(UserError, match=rf"127\.0\.0\.1, port {port} \(address already in use\): name another"):
            ui(["demo"], host="127.0.0.1", port=port)
