"""The asset `pairs`: preference pairs whose label is known by construction (paper section 3)."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept, table_output
from selftaught_assets.assets.sampling import Sampler, sampler
from selftaught_assets.engines.journalled import GenerationTask
from selftaught_assets.method.identity import derive_seed
from selftaught_assets.method.pairs import STRATEGY, build_pairs, split_modified_pair
from selftaught_assets.method.prompts import modified_instruction_messages, modified_pair_messages, response_messages
from selftaught_assets.method.verdicts import without_thinking
from selftaught_assets.storage.models import reference_model
from selftaught_assets.training.trial import require_trainable


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
        model = reference_model(recipe.seed_model)
        if recipe.try_training:  # Here, since nothing is sampled before.
            require_trainable(
                model,
                recipe.training,
                seed=recipe.seed,
                date=recipe.template_date,
                passed=family.layout.trials,
                log=context.log,
            )
        with sampler(context, family, "pairs", model) as generator:
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
    messages = [
        modified_pair_messages(family.recipe.templates, instruction, response)
        for instruction, response in frame.select("instruction", "chosen").iter_rows()
    ]
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
    messages = [
        modified_instruction_messages(family.recipe.templates, instruction, response)
        for instruction, response in frame.select("instruction", "chosen").iter_rows()
    ]
    modified = _complete(generator, family, "modified_instruction", frame["instruction_id"], messages)
    rejected = _respond(generator, family, "rejected", frame["instruction_id"], modified["text"])
    return frame.with_columns(
        modified_instruction=modified["text"],
        modified_finish=modified["finish_reason"],
        rejected=rejected["text"],
        rejected_finish=rejected["finish_reason"],
    )


def _respond(generator: Sampler, family: Family, role: str, ids: pl.Series, instructions: pl.Series) -> pl.DataFrame:
    messages = [response_messages(family.recipe.templates, instruction) for instruction in instructions]
    return _complete(generator, family, role, ids, messages)


def _complete(
    generator: Sampler, family: Family, role: str, ids: pl.Series, messages: list[list[dict[str, str]]]
) -> pl.DataFrame:
    """One completion for each instruction id, in order, without what a reasoning model thinks aloud."""
    settings = family.recipe.pairs
    sampling = settings.response if role in ("chosen", "rejected") else settings.modification
    tasks = [
        GenerationTask(id, message, n=1, seed=derive_seed(family.recipe.seed, role, id))
        for id, message in zip(ids, messages, strict=True)
    ]
    completions = generator.sample(tasks, sampling)
    answers = pl.Series("text", [without_thinking(text).strip() for text in completions["text"]], dtype=pl.String)
    return completions.with_columns(answers)
