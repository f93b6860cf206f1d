"""Equal numbers of both labels.

Belongs here: cutting the more frequent label down. Not here: how examples are chosen before (`rejection`).
"""

import polars as pl

from selftaught_assets.method.draws import draw

DROP_REASON = "balance"


def balance_labels(frame: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Cuts A and B to equal numbers in each split (paper section 3, "Judgment Annotation").

    A judge trained on more A than B would learn to prefer A. The rarer label stays whole, and as many of the other are
    drawn: no way to equal numbers drops fewer rows. It is done within each split, so that always answering A scores one
    half on the validation examples too, and neither split pays for a surplus in the other.

    Args:
        frame: judgment_id, label (A or B; may be null in dropped rows), split, drop_reason.
        seed: of the draw among the more frequent label, which belongs to the judgments' ids.

    Returns:
        Every row, in its order; kept rows that are cut get the reason "balance".
    """
    kept = pl.col("drop_reason").is_null()
    size = pl.min_horizontal((kept & (pl.col("label") == label)).sum().over("split") for label in ("A", "B"))
    place = pl.when(kept).then(draw("judgment_id", seed, "balance")).rank("ordinal").over("split", "label")
    return frame.with_columns(
        pl.when(place > size).then(pl.lit(DROP_REASON)).otherwise("drop_reason").alias("drop_reason")
    )
