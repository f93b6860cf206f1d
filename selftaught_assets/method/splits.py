"""Training and validation examples, told apart by instruction.

Belongs here: which instructions are held out. Not here: what is measured on them (training).
"""

import polars as pl

from selftaught_assets.method.draws import share

TRAIN, VALIDATION = "train", "validation"


def assign_split(frame: pl.DataFrame, *, validation_share: float, seed: int) -> pl.DataFrame:
    """Adds the column `split` (paper section 4: checkpoints are chosen by accuracy on held-out pairs).

    All rows of an instruction fall on one side: two examples of one instruction on both sides would let the judge be
    examined on what it has seen. An instruction's side depends on its id and the seed alone. So the share is met on
    average, not exactly, and with one seed for all iterations no judge is examined on what its predecessor was trained
    on.

    Args:
        frame: instruction_id and any further columns.
        validation_share: probability that an instruction is held out.
        seed: the same in every iteration of a recipe.
    """
    held_out = share("instruction_id", seed, "split") < validation_share
    return frame.with_columns(pl.when(held_out).then(pl.lit(VALIDATION)).otherwise(pl.lit(TRAIN)).alias("split"))
