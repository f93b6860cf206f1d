"""Using a judge outside the loop: from Python, from files, over HTTP, and as a folder to take along."""

from selftaught_assets.judge.judge import Caution, Judge

__all__ = ["Caution", "Judge"]
