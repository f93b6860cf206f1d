"""Whether a label can be told from what it should not depend on.

Belongs here: a small classifier, cross-validated, and the area under the curve of one number. Not here: which columns
it may see, and how much is too much (checks).
"""

import math
from typing import NamedTuple

import polars as pl

FOLDS = 5
ROWS = 4_000
"""The probe looks at no more rows: its interval is then ±1.5 points."""


class Probe(NamedTuple):
    """How a probe fared on rows that it had not seen."""

    right: int
    n: int


def probe_label(rows: pl.DataFrame, *, label: str, group: str, texts: tuple[str, ...] = ()) -> Probe | None:
    """How often a logistic regression tells the label of rows that it has not seen, in five folds.

    One half is what guessing gives where both labels are equally frequent. Numbers are standardised, and each of the
    `texts` becomes one indicator for each value that ten rows or more have. Rows of a group stay in one fold.

    Args:
        rows: two labels; columns other than these are what the probe may see. No more than `ROWS` of them.
        label: column of the label.
        group: column of the group.
        texts: columns that hold categories; the others are numbers.

    Returns:
        None where a label has too few groups for five folds.
    """
    import numpy as np
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if rows[label].n_unique() != 2 or rows.group_by(label).agg(pl.col(group).n_unique())[group].min() < 2 * FOLDS:
        return None
    seen = rows.drop(label, group)
    numbers = [index for index, name in enumerate(seen.columns) if name not in texts]
    categories = [index for index, name in enumerate(seen.columns) if name in texts]
    columns = make_column_transformer(
        (StandardScaler(), numbers), (OneHotEncoder(min_frequency=10, handle_unknown="infrequent_if_exist"), categories)
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1_000))
    truth = rows[label].to_numpy()
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    inputs = np.array(seen.rows(), dtype=object)
    told = cross_val_predict(model, inputs, truth, cv=folds, groups=rows[group].to_numpy())
    return Probe(right=int((told == truth).sum()), n=rows.height)


def area_under_curve(values: pl.Series, is_first: pl.Series) -> float | None:
    """How often a value of the first kind is larger than one of the second, ties counting one half.

    One half says that the value tells nothing of the kind. None where one of the kinds is missing.
    """
    ranks = values.rank("average")
    first, second = int(is_first.sum()), int((~is_first).sum())
    if not first or not second:
        return None
    return float((ranks.filter(is_first).sum() - first * (first + 1) / 2) / (first * second))


def area_deviation(area: float, first: int, second: int) -> float:
    """An upper bound of the standard deviation of the area under the curve (Birnbaum and Klose, 1957).

    √(A(1 - A) / the smaller count), whatever the distributions: an interval made of it is wide rather than narrow.
    """
    return math.sqrt(area * (1 - area) / min(first, second))
