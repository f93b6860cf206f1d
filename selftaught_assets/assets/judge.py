"""The asset `judge`: which model judges an iteration. The hand-over itself is in handover.py."""

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.handover import (
    TRAINED_BY,
    await_checkpoint,
    judge_metadata,
    judge_version,
    write_judge,
)
from selftaught_assets.assets.history import newest_run
from selftaught_assets.assets.promotion import override_metadata, require_promotion
from selftaught_assets.iterations import previous_iteration
from selftaught_assets.storage.models import reference_model


def build_judge(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging",
        kinds={"huggingface"},
        automated=False,
    )
    def judge(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The model that judges this iteration: the seed model first, then the checkpoint of the iteration before.

        Its upstream is `checkpoint` of the previous iteration. Dagster cannot draw that edge (it would close a cycle),
        so it is recorded: once its checks have passed, a checkpoint is logged as this asset's next partition, with its
        digest as data version. One that is not current, failed a check, or is refused by `handover` is not taken over.
        """
        previous, promotion, trained_by = previous_iteration(context.partition_key), None, {}
        if previous is None:
            model = reference_model(recipe.judgments.first_annotator or recipe.seed_model)
        else:
            model = await_checkpoint(context, family, previous)
            promotion = require_promotion(family, previous, model)
            run = newest_run(context.instance, family.key("checkpoint"), previous)
            trained_by = {} if run is None else {TRAINED_BY: dg.MetadataValue.dagster_run(run)}
        basis = write_judge(family, model, context.partition_key)
        return dg.MaterializeResult(
            metadata={
                **judge_metadata(family, model, context.partition_key, basis),
                **trained_by,
                **override_metadata(promotion),
            },
            data_version=judge_version(model),
        )

    return judge
