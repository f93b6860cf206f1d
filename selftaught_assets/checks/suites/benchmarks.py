"""The suite of `benchmarks`: can judges be measured on what was brought?

Belongs here: declarations about labelled pairs. Not here: which rows can be scored (method/benchmarks).
"""

import polars as pl

from selftaught_assets.checks.rules import Estimate, Estimated, Subject, Suite, share_estimate
from selftaught_assets.recipe import Recipe

VALUES_SHOWN = 10


def suites(recipe: Recipe) -> list[Suite]:
    return [labels_read(recipe)]


def labels_read(recipe: Recipe) -> Suite:
    """Nearly all rows of every benchmark have a label."""
    return Suite(
        asset="benchmarks",
        name="labels_read",
        purpose="A row whose label cannot be read is not measured on; many of them mean another spelling.",
        rows=_rows,
        shown=("item_id", "benchmark", "label_seen", "instruction"),
        rules=(
            Estimated(
                "unlabelled_share",
                "rows of the benchmark that has most of them",
                "the share without a label that can be read",
                _largest_share,
                high=recipe.checks.max_odd_share,
                culprits="unlabelled",
            ),
        ),
        numbers=_values_seen,
    )


def _rows(subject: Subject) -> pl.DataFrame:
    return subject.tables["benchmarks"].with_columns(unlabelled=pl.col("drop_reason").eq_missing("no_label"))


def _largest_share(rows: pl.DataFrame) -> Estimate | None:
    """Of the benchmark that has surely the most: a small one must not be lost among large ones."""
    shares = [share_estimate(part["unlabelled"]) for part in rows.partition_by("benchmark", maintain_order=True)]
    return max((share for share in shares if share is not None), key=lambda share: share.low, default=None)


def _values_seen(rows: pl.DataFrame) -> dict[str, int | float]:
    """The most frequent values that are no label, by benchmark."""
    unread = rows.filter("unlabelled").group_by("benchmark", pl.col("label_seen").fill_null("")).len()
    most = unread.sort("len", "benchmark", "label_seen", descending=[True, False, False]).head(VALUES_SHOWN)
    return {"rows": rows.height} | {f"no_label/{name}/{value!r}": count for name, value, count in most.iter_rows()}
