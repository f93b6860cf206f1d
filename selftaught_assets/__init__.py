"""Self-taught evaluators as Dagster assets: train an LLM-as-a-judge without human labels (arXiv 2408.02666)."""

__version__ = "0.1.0"
