"""Imported once per run, by the process that all its steps are forked from, so that a step starts at once.

What is imported must not start threads or touch a GPU: neither survives a fork
(docs/decisions/0005-one-forkserver-per-run.md).
"""

from importlib import import_module

from selftaught_assets.startup import importing

MODULES = (
    "torch",
    "transformers.models.auto.modeling_auto",
    "peft",
    "selftaught_assets.checks.expectations",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "alembic.command",
    "dagster._core.storage.sqlite_storage",
    "typer",
    "selftaught_assets.definitions",
)

with importing():
    for name in MODULES:
        import_module(name)
