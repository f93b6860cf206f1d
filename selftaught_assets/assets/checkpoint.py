"""The asset `checkpoint`: the next judge, fine-tuned on the kept judgments (paper sections 3 and 4)."""

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.handover import CHECKPOINT_FOLDER, TRAINED_BY, hand_over, judge_version
from selftaught_assets.assets.promotion import (
    GATED_DEPS,
    GATED_SECTIONS,
    consider,
    override_metadata,
    promotion_metadata,
)
from selftaught_assets.iterations import next_iteration
from selftaught_assets.storage.models import read_pointer, reference_model
from selftaught_assets.training.launch import train_checkpoint, training_metadata


def build_checkpoint(family: Family) -> dg.AssetsDefinition:
    recipe, layout = family.recipe, family.layout
    continues, gated = recipe.training.start_from == "previous", recipe.handover.compares

    @family.asset(
        group="training",
        kinds={"pytorch", "huggingface"},
        sections=("training", "seed_model", *(GATED_SECTIONS if gated else ())),
        deps=("filtered_set", *(GATED_DEPS if gated else ("judge",) if continues else ())),
        samples=gated,
    )
    def checkpoint(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        """A new judge: a LoRA adapter trained on the kept judgments, in a process of its own.

        When it is finished it becomes `judge` of the next iteration: that materialization is logged here, too.
        Where the recipe's `handover` asks for it, it is compared with the judge in office first, and may be refused.
        """
        iteration = context.partition_key
        start = (
            read_pointer(layout.judge(iteration), root=layout.root) if continues else reference_model(recipe.seed_model)
        )
        trained = train_checkpoint(
            context,
            pipes,
            recipe=recipe.name,
            iteration=iteration,
            start=start,
            examples=layout.table("filtered_set", iteration),
            settings=recipe.training,
            seed=recipe.seed,
            checkpoints=layout.checkpoints(iteration),
            progress=layout.progress,
        )
        promotion = consider(context, family, trained.model) if gated else None
        is_held_back = promotion is not None and not promotion.may_judge
        following = None if is_held_back else next_iteration(iteration, recipe.iterations)
        if following is not None:
            run = dg.MetadataValue.dagster_run(context.run.run_id)
            log, found = context.log_event, {TRAINED_BY: run, **override_metadata(promotion)}
            hand_over(log, family, trained.model, following, **found)
        return dg.MaterializeResult(
            metadata={
                CHECKPOINT_FOLDER: trained.model.adapter.name,
                "path": dg.MetadataValue.path(trained.model.adapter),
                **training_metadata(trained.manifest),
                **promotion_metadata(family, iteration, promotion),
                **(_next_judge(family, following) if following else {}),
            },
            data_version=judge_version(trained.model),
        )

    return checkpoint


def _next_judge(family: Family, iteration: str) -> dict[str, dg.MetadataValue]:
    """The way from a checkpoint to the judge that it becomes."""
    return {
        "next_judge": dg.MetadataValue.asset(family.key("judge")),
        "next_judge_partition": dg.MetadataValue.text(iteration),
        "next_judge_pointer": dg.MetadataValue.path(family.layout.judge(iteration)),
    }
