"""Self-taught evaluators as Dagster assets: train an LLM-as-a-judge without human labels (arXiv 2408.02666)."""

from typing import Any

from selftaught_assets.version import __version__

__all__ = ["SelfTaughtEvaluator", "__version__"]


def __getattr__(name: str) -> Any:
    """`SelfTaughtEvaluator`, the component, which brings Dagster along and is imported when somebody asks for it."""
    if name != "SelfTaughtEvaluator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from selftaught_assets.component import SelfTaughtEvaluator

    return SelfTaughtEvaluator


def __dir__() -> list[str]:
    return [*globals(), *__all__]
