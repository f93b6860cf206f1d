"""The gate before publication: a checkpoint is compared with the current judge before it may judge."""

import getpass
import os
from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept
from selftaught_assets.assets.history import newest_run, newest_version, unpassed
from selftaught_assets.assets.publication import (
    TRAINED_BY,
    judge_version,
    publish_judge,
    reference_current_checkpoint,
    require_current,
)
from selftaught_assets.assets.sampling import sampler
from selftaught_assets.engines.asking import JOURNAL, measurement_requests
from selftaught_assets.engines.factory import open_in_turn
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import next_iteration, previous_iteration
from selftaught_assets.method.scoring.comparison import Outcome, decide
from selftaught_assets.storage.checkpoints import Override, Promotion, promotion_path, read_promotion, write_promotion
from selftaught_assets.storage.models import ModelReference, read_pointer
from selftaught_assets.storage.stored import first_stale, stale
from selftaught_assets.storage.tables import read_table

BY_OLDER_TEST = (
    "by a test of an older release that is too sure: materialize `checkpoint` of {iteration} again, which compares and "
    "does not train"
)


def consider(context: dg.AssetExecutionContext, family: Family, checkpoint: ModelReference) -> Promotion:
    """Decides whether a checkpoint may judge, and records it.

    Both judges answer the validation benchmark in turn, through the journal of `evaluation`, which finds the verdicts
    there. An override of an earlier decision about the same weights holds on.

    Raises:
        UserError: the current judge or the benchmark is missing.
    """
    iteration, settings, layout = context.partition_key, family.recipe.promotion, family.layout
    in_office = read_pointer(layout.judge(iteration), root=layout.root)
    decision = decide(
        *_verdicts(context, family, in_office, checkpoint),
        rule=settings.rule,
        alpha=settings.alpha,
        stop_when_flat=settings.stop_when_flat,
        flat_before=_flat_before(family, iteration, in_office),
    )
    earlier = read_promotion(layout.promotions(iteration), checkpoint.digest)
    promotion = Promotion(
        checkpoint=checkpoint.digest,
        in_office=in_office.digest,
        benchmark=settings.validation,
        rule=settings.rule,
        alpha=settings.alpha,
        stop_when_flat=settings.stop_when_flat,
        outcome=decision.outcome,
        n=decision.comparison.n,
        gained=decision.comparison.gained,
        lost=decision.comparison.lost,
        p_value=decision.comparison.p_clustered,
        flat=decision.flat,
        override=earlier and earlier.override,
    )
    write_promotion(layout.promotions(iteration), promotion)
    if not promotion.may_judge:
        context.log.warning(why_not(family, iteration, promotion))
    return promotion


def require_promotion(family: Family, iteration: str, checkpoint: ModelReference) -> Promotion | None:
    """What was decided about the checkpoint that is to judge; None where the recipe compares none.

    Raises:
        UserError: it may not judge, or nothing was decided about it.
    """
    if not family.recipe.promotion.compares:
        return None
    promotion = read_promotion(family.layout.promotions(iteration), checkpoint.digest)
    if promotion is None:
        raise UserError(
            f"{_name(family, iteration)} was never compared with the judge before it, as the recipe's `promotion` "
            f"demands: materialize `checkpoint` of {iteration} again; it is compared, not trained again."
        )
    if not promotion.may_judge:
        raise UserError(why_not(family, iteration, promotion))
    return promotion


def what_stops(family: Family, iteration: str) -> Promotion | None:
    """The decision that keeps an iteration from its judge; None if nothing is known to.

    Raises:
        UserError: the checkpoint before it is missing or stale.
    """
    previous = previous_iteration(iteration)
    if previous is None or not family.recipe.promotion.compares:
        return None
    checkpoint = require_current(family, previous, following=iteration)
    promotion = read_promotion(family.layout.promotions(previous), checkpoint.digest)
    return promotion if is_held_back(promotion) else None


def is_held_back(promotion: Promotion | None) -> bool:
    """Whether a checkpoint was refused, or ended the loop, and nobody promoted it by hand."""
    return promotion is not None and not promotion.may_judge


def publish(context: dg.AssetCheckExecutionContext, family: Family, iteration: str) -> None:
    """Makes the checkpoint of an iteration, which has passed its checks, the judge of the next one.

    Nothing happens where there is no next one, where the checkpoint is held back, or where it is the judge already. One
    that is stale by now is left to whoever makes it again.
    """
    following = next_iteration(iteration, family.recipe.iterations)
    if following is None:
        return
    outdated = first_stale(family.recipe, family.layout, "checkpoint", iteration)
    if outdated is not None:
        context.log.warning(f"{_name(family, iteration)} does not become the judge of {following}: {outdated.reason}.")
        return
    model = reference_current_checkpoint(family, iteration)
    compares = family.recipe.promotion.compares
    promotion = read_promotion(family.layout.promotions(iteration), model.digest) if compares else None
    logged = newest_version(context.instance, family.key("judge"), following) == judge_version(model).value
    is_judge_already = logged and stale(family.recipe, family.layout, "judge", following) is None
    if is_held_back(promotion) or is_judge_already:
        return
    run = newest_run(context.instance, family.key("checkpoint"), iteration)
    trained_by = {} if run is None else {TRAINED_BY: dg.MetadataValue.dagster_run(run)}
    log = context.op_execution_context.log_event
    publish_judge(log, family, model, following, **trained_by, **override_metadata(promotion))


def promote_by_hand(instance: dg.DagsterInstance, family: Family, iteration: str, reason: str) -> str | None:
    """Lets a checkpoint judge although it was refused, or although the loop had ended; who, when and why is recorded.

    Returns:
        The iteration that it judges now; None if it is the last.

    Raises:
        UserError: there is no such iteration or no reason, nothing is trained or compared yet, the checkpoint is stale,
            or it is promoted already.
    """
    recipe, keys = family.recipe, family.partitions.get_partition_keys()
    if iteration not in keys:
        raise UserError(f"Recipe {recipe.name} has no iteration {iteration!r}, only {keys[0]} to {keys[-1]}.")
    if not reason.strip():
        raise UserError("A promotion by hand needs a reason: say it with --reason.")
    if not recipe.promotion.compares:
        raise UserError(
            f"Recipe {recipe.name} promotes every checkpoint (promotion.rule: always): there is nothing to override."
        )
    following = next_iteration(iteration, recipe.iterations)
    checkpoint = require_current(family, iteration, following=following)
    if problem := unpassed(instance, family, ("checkpoint",), iteration):
        raise UserError(f"{_name(family, iteration)} may not judge: {problem}; materialize it with its checks first.")
    folder = family.layout.promotions(iteration)
    promotion = read_promotion(folder, checkpoint.digest)
    if promotion is None or promotion.may_judge:
        require_promotion(family, iteration, checkpoint)
        raise UserError(f"{_name(family, iteration)} is promoted already: nothing was changed.")
    override = Override(by=_user(), at=datetime.now(UTC), reason=reason.strip())
    promotion = promotion.model_copy(update={"override": override})
    write_promotion(folder, promotion)
    metadata = override_metadata(promotion)
    instance.report_runless_asset_event(
        dg.AssetObservation(family.key("checkpoint"), partition=iteration, metadata=metadata)
    )
    if following is not None:
        publish_judge(instance.report_runless_asset_event, family, checkpoint, following, **metadata)
    return following


def why_not(family: Family, iteration: str, promotion: Promotion) -> str:
    """The sentence of a checkpoint that may not judge: what was found, the setting that refuses it, the way past it."""
    figures = (
        f"on the benchmark {promotion.benchmark} it gained {promotion.gained} and lost {promotion.lost} of "
        f"{promotion.n} verdicts against the current judge (p = {promotion.p_value:.2g} "
        f"{'over instructions' if promotion.clustered else BY_OLDER_TEST.format(iteration=iteration)})"
    )
    if promotion.outcome == Outcome.FLAT:
        count = "1 iteration" if promotion.flat == 1 else f"{promotion.flat} successive iterations"
        found = (
            f"The loop ends with {iteration}, after {count} without a significant gain "
            f"(promotion.stop_when_flat: {promotion.stop_when_flat}): {figures}"
        )
    else:
        found = f"{_name(family, iteration)} was refused (promotion.rule: {promotion.rule}): {figures}"
    command = f"selftaught promote {iteration} --recipe {family.recipe.name} --reason TEXT"
    return f"{found}; to let it judge anyway: {command}."


def promotion_metadata(family: Family, iteration: str, promotion: Promotion | None) -> dict[str, object]:
    """What the UI shows of a decision, at the checkpoint; numbers are plotted over the iterations."""
    if promotion is None:
        return {}
    sentence = {} if promotion.may_judge else {"promotion_refused": why_not(family, iteration, promotion)}
    return {
        "promotion": "promoted by hand" if promotion.override else promotion.outcome.value,
        **sentence,
        **override_metadata(promotion),
        "validation_benchmark": promotion.benchmark,
        "validation_gained": promotion.gained,
        "validation_lost": promotion.lost,
        "validation_p_value": promotion.p_value,
        "flat_iterations": promotion.flat,
        "promotion_record": dg.MetadataValue.path(
            promotion_path(family.layout.promotions(iteration), promotion.checkpoint)
        ),
    }


def override_metadata(promotion: Promotion | None) -> Mapping[str, dg.MetadataValue]:
    """Who promoted a checkpoint by hand, when and why; nothing if nobody did."""
    if promotion is None or promotion.override is None:
        return {}
    override = promotion.override
    return {
        "promoted_by": dg.MetadataValue.text(override.by),
        "promoted_at": dg.MetadataValue.timestamp(override.at),
        "promotion_reason": dg.MetadataValue.text(override.reason),
    }


def _verdicts(context: dg.AssetExecutionContext, family: Family, *judges: ModelReference) -> list[pl.DataFrame]:
    """What each judge says about the validation benchmark."""
    name = family.recipe.promotion.validation
    benchmarks = read_table(family.layout.table("benchmarks"))
    if benchmarks is None:
        raise UserError(f"Judges are compared on the benchmark {name}: materialize `benchmarks` first.")
    requests = measurement_requests(family.recipe, kept(benchmarks).filter(pl.col("benchmark") == name))
    if requests.is_empty():
        raise UserError(f"No pair of the benchmark {name} can be scored; see `drop_reason` in the table `benchmarks`.")
    verdicts = []
    with open_in_turn(family.recipe.engine, judges) as open_judge:
        for model in judges:
            with sampler(context, family, JOURNAL, model, open_judge) as judge:
                verdicts.append(judge.verdicts(requests, "greedy"))
    return verdicts


def _flat_before(family: Family, iteration: str, in_office: ModelReference) -> int:
    """Successive iterations without gain up to the current judge; a promotion by hand starts the count again."""
    previous = previous_iteration(iteration)
    promotion = previous and read_promotion(family.layout.promotions(previous), in_office.digest)
    return promotion.flat if promotion and not promotion.override else 0


def _name(family: Family, iteration: str) -> str:
    return f"`{family.key('checkpoint').to_user_string()}` of {iteration}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # No such user on this machine, as in some containers.
        return f"user {os.getuid()}"
