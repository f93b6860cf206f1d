"""The asset `checkpoint`: the next judge, fine-tuned on the kept judgments (paper sections 3 and 4)."""

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.handover import CHECKPOINT_FOLDER, hand_over, judge_version
from selftaught_assets.iterations import next_iteration
from selftaught_assets.storage.models import read_pointer, reference_model
from selftaught_assets.training.launch import train_checkpoint, training_metadata


def build_checkpoint(family: Family) -> dg.AssetsDefinition:
    recipe, layout = family.recipe, family.layout
    continues = recipe.training.start_from == "previous"

    @family.asset(
        group="training",
        kinds={"pytorch", "huggingface"},
        sections=("training", "seed_model"),
        deps=("filtered_set", "judge") if continues else ("filtered_set",),
    )
    def checkpoint(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        """A new judge: a LoRA adapter trained on the kept judgments, in a process of its own.

        When it is finished it becomes `judge` of the next iteration: that materialization is logged here, too.
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
        following = next_iteration(iteration, recipe.iterations)
        if following is not None:
            hand_over(context, family, trained.model, following)
        return dg.MaterializeResult(
            metadata={
                CHECKPOINT_FOLDER: trained.model.adapter.name,
                "path": dg.MetadataValue.path(trained.model.adapter),
                **training_metadata(trained.manifest),
                **({"next_judge": dg.MetadataValue.asset(family.key("judge"))} if following else {}),
            },
            data_version=judge_version(trained.model),
        )

    return checkpoint
