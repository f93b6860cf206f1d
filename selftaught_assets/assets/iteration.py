"""The assets of one iteration, in the order of the paper: instructions, pairs, judgments, filtered set, checkpoint.

How a checkpoint becomes the next `judge` is in publication.py.
"""

from collections.abc import Iterable
from functools import partial

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept, table_output
from selftaught_assets.assets.history import newest_run
from selftaught_assets.assets.io_manager import BASIS
from selftaught_assets.assets.promotion import (
    consider,
    is_held_back,
    override_metadata,
    promotion_metadata,
    require_promotion,
)
from selftaught_assets.assets.publication import (
    TRAINED_BY,
    await_checkpoint,
    judge_metadata,
    judge_version,
    write_judge,
)
from selftaught_assets.assets.sampling import Sampler, sampler, trainable_seed_model
from selftaught_assets.engines.asking import sample_judgments
from selftaught_assets.engines.journalled import GenerationTask, Tasks
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_number, next_iteration, previous_iteration
from selftaught_assets.method import single, training_set
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.instructions import select_instructions
from selftaught_assets.method.judging import (
    SETTLES,
    judging_requests,
    judgment_quality,
    judgments_table,
    sample_until_right,
)
from selftaught_assets.method.pairs import STRATEGY, build_pairs, split_modified_pair
from selftaught_assets.method.prompts import (
    Messages,
    modified_instruction_messages,
    modified_pair_messages,
    response_messages,
)
from selftaught_assets.method.single import rating_quality, rating_requests, ratings_table
from selftaught_assets.method.verdicts import without_thinking
from selftaught_assets.storage.checkpoints import write_current
from selftaught_assets.storage.models import read_pointer, reference_model
from selftaught_assets.training.launch import train_checkpoint, training_metadata


def build_instructions(family: Family) -> dg.AssetsDefinition:
    @family.asset(group="data", kinds={"polars", "parquet"}, tables=("instruction_pool",))
    def instructions(context: dg.AssetExecutionContext, instruction_pool: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """The instructions of this iteration, drawn from the pool by seed; the others stay as not selected."""
        settings = family.recipe.instructions
        try:
            frame = select_instructions(
                instruction_pool,
                count=settings.count,
                schedule=settings.schedule,
                iteration=iteration_number(context.partition_key),
                seed=family.recipe.seed,
                max_characters=settings.max_characters,
                categories=settings.categories,
                shares=settings.shares,
            )
        except ValueError as error:
            raise UserError(str(error)) from None
        return table_output(frame, rows_in=instruction_pool.height, count=settings.count)

    return instructions


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
        digest as data version. One that is not current, failed a check, or is refused by `promotion` is not taken over.
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


def build_pairs_asset(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="data",
        kinds={"polars", "parquet", "huggingface"},
        tables=("instructions",),
        samples=True,
    )
    def pairs(context: dg.AssetExecutionContext, instructions: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """Preference pairs: a response to the instruction, and a response to a modified instruction.

        The second one answers another question, so it is the worse answer to this one: the label costs no human.
        """
        selected = kept(instructions).select("instruction_id", "instruction")
        with sampler(context, family, "pairs", trainable_seed_model(context, family)) as generator:
            chosen = _respond(generator, family, "chosen", selected["instruction_id"], selected["instruction"])
            frame = selected.with_columns(chosen=chosen["text"], chosen_finish=chosen["finish_reason"])
            write = _one_call if recipe.pairs.form == "one_call" else _two_calls
            frame = write(generator, family, frame).with_columns(
                generator=pl.lit(generator.model_digest), strategy=pl.lit(STRATEGY)
            )
        frame = build_pairs(frame)
        valid = kept(frame).height
        return table_output(
            frame, rows_in=selected.height, valid_share=valid / frame.height, **generator.costs(kept=valid)
        )

    return pairs


def _one_call(generator: Sampler, family: Family, frame: pl.DataFrame) -> pl.DataFrame:
    """The modified instruction and the response to it in one completion, as in the paper."""
    messages = (
        modified_pair_messages(family.recipe.templates, instruction, response)
        for instruction, response in frame.select("instruction", "chosen").iter_rows()
    )
    written = _complete(generator, family, "modified_pair", frame["instruction_id"], messages)
    split = [split_modified_pair(text) for text in written["text"]]
    return frame.with_columns(
        modified_instruction=pl.Series([pair.instruction if pair else "" for pair in split], dtype=pl.String),
        modified_finish=written["finish_reason"],
        rejected=pl.Series([pair.response if pair else "" for pair in split], dtype=pl.String),
        rejected_finish=written["finish_reason"],
    )


def _two_calls(generator: Sampler, family: Family, frame: pl.DataFrame) -> pl.DataFrame:
    """First the modified instruction, then a response to it as to any instruction: better for small models."""
    messages = (
        modified_instruction_messages(family.recipe.templates, instruction, response)
        for instruction, response in frame.select("instruction", "chosen").iter_rows()
    )
    modified = _complete(generator, family, "modified_instruction", frame["instruction_id"], messages)
    rejected = _respond(generator, family, "rejected", frame["instruction_id"], modified["text"])
    return frame.with_columns(
        modified_instruction=modified["text"],
        modified_finish=modified["finish_reason"],
        rejected=rejected["text"],
        rejected_finish=rejected["finish_reason"],
    )


def _respond(generator: Sampler, family: Family, role: str, ids: pl.Series, instructions: pl.Series) -> pl.DataFrame:
    messages = (response_messages(family.recipe.templates, instruction) for instruction in instructions)
    return _complete(generator, family, role, ids, messages)


def _complete(
    generator: Sampler, family: Family, role: str, ids: pl.Series, messages: Iterable[Messages]
) -> pl.DataFrame:
    """One completion for each instruction id, in order, without what a reasoning model thinks aloud."""
    settings = family.recipe.pairs
    sampling = settings.response if role in ("chosen", "rejected") else settings.modification
    tasks = (
        GenerationTask(id, message, n=1, seed=derive_seed(family.recipe.seed, role, id))
        for id, message in zip(ids, messages, strict=True)
    )
    completions = generator.sample(Tasks(len(ids), tasks), sampling)
    answers = pl.Series("text", [without_thinking(text).strip() for text in completions["text"]], dtype=pl.String)
    return completions.with_columns(answers)


def build_judgments(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging",
        kinds={"polars", "parquet", "huggingface"},
        tables=("pairs",),
        samples=True,
    )
    def judgments(context: dg.AssetExecutionContext, pairs: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """Chain-of-thought judgments of every valid pair by the current judge, right and wrong alike.

        Up to `n` of each: a pair that has a right one is not sampled any more, unless the recipe says otherwise.
        """
        settings = recipe.judgments
        if settings.form == "single":
            requests, table, quality = rating_requests(pairs), ratings_table, rating_quality
        else:
            requests = judging_requests(pairs, positions=settings.positions, seed=recipe.seed)
            table = partial(judgments_table, form=recipe.verdicts.format, ties=recipe.verdicts.ties)
            quality = partial(judgment_quality, firsts_only=recipe.stops_when_right)
        model = read_pointer(family.layout.judge(context.partition_key), root=family.layout.root)
        with sampler(context, family, "judgments", model) as judge:

            def ask(some: pl.DataFrame, first: int, end: int) -> pl.DataFrame:
                answers = sample_judgments(recipe, some, judge.sample, settings.sampling, n=end, first=first)
                return table(some, answers, judge=model.digest)

            if recipe.stops_when_right:
                frame = sample_until_right(requests, ask, n=settings.n, capacity=judge.capacity)
            else:
                frame = ask(requests, 0, settings.n)
        solved = frame.filter(SETTLES).n_unique(["pair_id", "chosen_position"])
        costs = judge.costs(kept=solved)
        return table_output(
            frame,
            rows_in=frame.height,
            judge_digest=model.digest,
            completions_surplus=costs["completions"] - costs.get("completions_eliciting", 0) - frame.height,
            **quality(frame),
            **costs,
        )

    return judgments


def build_filtered_set(family: Family) -> dg.AssetsDefinition:
    recipe = family.recipe

    @family.asset(
        group="judging",
        kinds={"polars", "parquet"},
        tables=("judgments", "pairs"),
    )
    def filtered_set(judgments: pl.DataFrame, pairs: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """One correct judgment of each pair, as many that say A as say B; every other one with its drop reason.

        In the single form two: one of the winner, and one of the loser that gives it a lower rating.
        """
        is_single = recipe.judgments.form == "single"
        choose = single.filtered_set if is_single else partial(training_set.filtered_set, ties=recipe.verdicts.ties)
        frame = choose(
            judgments,
            pairs,
            recipe.templates,
            keep=recipe.filter.keep,
            validation_share=recipe.filter.validation_share,
            seed=recipe.seed,
        )
        chosen = kept(frame)
        return table_output(
            frame,
            rows_in=kept(judgments).height,
            training_set_digest=training_set.training_set_digest(frame),
            kept_share=chosen.height / frame.height if frame.height else 0.0,
            validation_examples=chosen.filter(pl.col("split") == "validation").height,
            **_elicited_share(chosen, judgments),
            **(_ratings(frame) if is_single else {"examples_a_share": float((chosen["label"] == "A").mean() or 0.0)}),
        )

    return filtered_set


def _elicited_share(examples: pl.DataFrame, judgments: pl.DataFrame) -> dict[str, float]:
    """Of the examples, those whose judgment was completed with an elicited verdict; nothing where none is elicited."""
    if "elicited" not in judgments.columns:
        return {}
    of_them = examples.join(judgments.filter("elicited"), on="judgment_id", how="semi").height
    return {"elicited_share": of_them / examples.height if examples.height else 0.0}


def _ratings(frame: pl.DataFrame) -> dict[str, float | dg.MetadataValue]:
    """How the kept ratings are distributed, and how much of the label they tell."""
    distribution = single.rating_distribution(frame)
    columns = [dg.TableColumn(name, "int") for name in distribution.columns]
    records = [dg.TableRecord(row) for row in distribution.iter_rows(named=True)]
    return {
        "label_predictable_from_rating": single.predictable_from_rating(distribution),
        "rating_distribution": dg.MetadataValue.table(records, dg.TableSchema(columns)),
    }


def build_checkpoint(family: Family) -> dg.AssetsDefinition:
    recipe, layout = family.recipe, family.layout
    continues, gated = recipe.training.start_from == "previous", recipe.promotion.compares

    @family.asset(
        group="training",
        kinds={"pytorch", "huggingface"},
        samples=gated,
    )
    def checkpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """A new judge: a LoRA adapter trained on the kept judgments, in a process of its own.

        Once its checks have passed it becomes `judge` of the next iteration. Where the recipe's `promotion` asks for
        it, it is compared with the current judge first, and may be refused.
        """
        iteration = context.partition_key
        basis = family.basis("checkpoint", iteration)
        start = (
            read_pointer(layout.judge(iteration), root=layout.root) if continues else reference_model(recipe.seed_model)
        )
        trained = train_checkpoint(
            context,
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
