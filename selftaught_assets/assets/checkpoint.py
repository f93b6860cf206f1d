"""The asset `checkpoint`: the next judge, fine-tuned on the kept judgments (paper sections 3 and 4)."""

import dagster as dg

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.handover import judge_version
from selftaught_assets.assets.promotion import consider, is_held_back, promotion_metadata
from selftaught_assets.iterations import next_iteration
from selftaught_assets.storage.checkpoints import write_current
from selftaught_assets.storage.models import read_pointer, reference_model
from selftaught_assets.storage.tables import BASIS
from selftaught_assets.training.launch import train_checkpoint, training_metadata


def build_checkpoint(family: Family) -> dg.AssetsDefinition:
    recipe, layout = family.recipe, family.layout
    continues, gated = recipe.training.start_from == "previous", recipe.handover.compares

    @family.asset(
        group="training",
        kinds={"pytorch", "huggingface"},
        samples=gated,
    )
    def checkpoint(context: dg.AssetExecutionContext, pipes: dg.PipesSubprocessClient) -> dg.MaterializeResult:
        """A new judge: a LoRA adapter trained on the kept judgments, in a process of its own.

        Once its checks have passed it becomes `judge` of the next iteration. Where the recipe's `handover` asks for it,
        it is compared with the current judge first, and may be refused.
        """
        iteration = context.partition_key
        basis = family.basis("checkpoint", iteration)
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
            date=recipe.template_date,
            checkpoints=layout.checkpoints(iteration),
            progress=layout.progress,
        )
        promotion = consider(context, family, trained.model) if gated else None
        write_current(layout.current_checkpoint(iteration), trained.model, basis)
        following = next_iteration(iteration, recipe.iterations)
        return dg.MaterializeResult(
            metadata={
                BASIS: basis.model_dump(),
                "path": dg.MetadataValue.path(trained.model.adapter),
                **training_metadata(trained.manifest),
                **promotion_metadata(family, iteration, promotion),
                **({} if following is None or is_held_back(promotion) else _next_judge(family, following)),
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
