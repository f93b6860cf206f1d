"""The assets `evaluation` and `seed_evaluation`: how good a judge is on the benchmarks (paper section 4)."""

import dagster as dg
import polars as pl

from selftaught_assets.assets.family import Family, kept, table_output
from selftaught_assets.assets.publication import reference_current_checkpoint
from selftaught_assets.assets.sampling import Sampler, sampler
from selftaught_assets.engines.asking import JOURNAL, measurement_requests
from selftaught_assets.errors import UserError
from selftaught_assets.iterations import iteration_key
from selftaught_assets.method.attacks import attack_success, attacked
from selftaught_assets.method.scoring.accuracy import TOO_LONG, score
from selftaught_assets.method.scoring.held_out import held_out_items, overfit_gap, without_held_out
from selftaught_assets.method.scoring.results import SubsetRow, flat_numbers, greedy_of, measure, same_items
from selftaught_assets.method.single import tied_share
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.models import ModelReference, reference_model
from selftaught_assets.storage.tables import read_table

SEED = "seed"
"""The name of the seed among the judges; the others are named after their iterations."""


def read_verdicts(family: Family, judge: str) -> pl.DataFrame | None:
    """The verdicts of `seed` or of an iteration's judge on the benchmarks; None if it is not evaluated."""
    layout = family.layout
    table = layout.table("seed_evaluation") if judge == SEED else layout.table("evaluation", judge)
    verdicts = read_table(table)
    if verdicts is not None and "instruction_id" not in verdicts.columns:
        raise UserError(
            f"The table {table} was written by an earlier version, without the instructions of its pairs: "
            "materialize `benchmarks` and it again (remembered completions are not sampled again)."
        )
    return None if verdicts is None else without_held_out(verdicts)


def earlier_verdicts(family: Family, iteration: str | None) -> dict[str, pl.DataFrame | None]:
    """The verdicts that those of an iteration are tested against: of the seed, and of the judge before.

    They are no upstream of `evaluation`: its table is the same without them, only the p-values in its metadata are
    missing, and `progress` has them in any case.

    Args:
        family: of the recipe.
        iteration: None for the seed, which is compared with nobody.
    """
    if iteration is None:
        return {"seed": None, "previous": None}
    names = [SEED, *(iteration_key(number) for number in range(1, family.recipe.iterations + 1))]
    before = names[names.index(iteration) - 1]
    return {"seed": read_verdicts(family, SEED), "previous": read_verdicts(family, before)}


def on_benchmark(verdicts: pl.DataFrame | None, benchmark: str) -> pl.DataFrame | None:
    """The verdicts on one benchmark."""
    return None if verdicts is None else verdicts.filter(pl.col("benchmark") == benchmark)


def attack_numbers(
    recipe: Recipe, judge: Sampler, requests: pl.DataFrame, greedy: pl.DataFrame
) -> dict[str, int | float]:
    """Metadata: for each attack of the recipe, the share of right verdicts that it turns, and how many were right.

    Args:
        recipe: for the attacks and the format of the verdict.
        judge: the judge in question.
        requests: of one benchmark, as it is.
        greedy: its verdicts on them.
    """
    numbers: dict[str, int | float] = {}
    for attack in recipe.evaluation.attacks:
        begging = attacked(requests, attack, form=recipe.verdicts.format)
        success = attack_success(attack, greedy, judge.verdicts(begging, "greedy"))
        if success.rate is None:
            continue
        numbers |= {
            f"attack/{attack}/success": success.rate,
            f"attack/{attack}/success_low": success.interval.low,
            f"attack/{attack}/success_high": success.interval.high,
            f"attack/{attack}/to_the_loser": success.to_the_loser / success.n,
            f"attack/{attack}/n": success.n,
        }
    return numbers


GROUP = "evaluation"
KINDS = {"polars", "parquet", "huggingface"}


def build_evaluation(family: Family) -> dg.AssetsDefinition:
    @family.asset(
        group=GROUP,
        kinds=KINDS,
        tables=("benchmarks", "pairs"),
        samples=True,
    )
    def evaluation(
        context: dg.AssetExecutionContext, benchmarks: pl.DataFrame, pairs: pl.DataFrame
    ) -> dg.Output[pl.DataFrame]:
        """The verdicts of this iteration's new judge on every benchmark pair, in both orders: greedy, and by vote.

        And greedy ones on the synthetic pairs that it was not trained on (`held_out`), which count as no benchmark.
        """
        model = reference_current_checkpoint(family, context.partition_key)
        recipe = family.recipe
        held_out = held_out_items(pairs, validation_share=recipe.filter.validation_share, seed=recipe.seed)
        return _evaluate(context, family, model, benchmarks, held_out)

    return evaluation


def build_seed_evaluation(family: Family) -> dg.AssetsDefinition:
    @family.asset(group=GROUP, kinds=KINDS, tables=("benchmarks",), samples=True)
    def seed_evaluation(context: dg.AssetExecutionContext, benchmarks: pl.DataFrame) -> dg.Output[pl.DataFrame]:
        """The verdicts of the seed model on every benchmark pair, in both orders: where every iteration starts from."""
        return _evaluate(context, family, reference_model(family.recipe.seed_model), benchmarks)

    return seed_evaluation


def _evaluate(
    context: dg.AssetExecutionContext,
    family: Family,
    model: ModelReference,
    benchmarks: pl.DataFrame,
    held_out: pl.DataFrame | None = None,
) -> dg.Output[pl.DataFrame]:
    single = family.recipe.judgments.form == "single"
    requests = measurement_requests(family.recipe, kept(benchmarks))
    for benchmark in family.recipe.benchmarks:
        if benchmark.name not in requests["benchmark"]:
            source = benchmark.source
            raise UserError(f"No pair of {source} can be scored; see `drop_reason` in the table `benchmarks`.")
    with sampler(context, family, JOURNAL, model) as judge:
        greedy = judge.verdicts(requests, "greedy")
        voted = judge.verdicts(requests, "vote")
        first = family.recipe.benchmarks[0].name
        robustness = attack_numbers(
            family.recipe, judge, requests.filter(pl.col("benchmark") == first), on_benchmark(greedy, first)
        )
        synthetic = _held_out_verdicts(family, judge, held_out)
        costs = judge.costs(kept=kept(benchmarks).height)
    frame = pl.concat([greedy, voted])
    numbers: dict[str, object] = {"prompts_too_long": _too_long(greedy)}
    earlier = earlier_verdicts(family, context.partition_key if context.has_partition_key else None)
    for index, benchmark in enumerate(family.recipe.benchmarks):
        tables = {name: on_benchmark(table, benchmark.name) for name, table in earlier.items()}
        for name, table in tables.items():
            if table is not None and not same_items(table, on_benchmark(frame, benchmark.name)):
                context.log.warning(f"Not tested against the {name} on {benchmark.name}: measured on other pairs.")
        measured = _measure(on_benchmark(frame, benchmark.name), tables, benchmark.format)
        prefix = f"{benchmark.name}_" if index else ""
        numbers |= {prefix + name: number for name, number in flat_numbers(measured).items()}
        numbers[f"{prefix}subsets"] = _subset_table(measured["subsets"])
        if single:
            numbers[f"{prefix}tied_share"] = tied_share(greedy_of(on_benchmark(frame, benchmark.name)))
    rows_in = requests.height if single else 2 * requests.height  # Two decodings; a single pair takes two requests.
    if synthetic is not None:
        numbers |= _held_out_numbers(synthetic, on_benchmark(greedy, first))
        numbers["prompts_too_long"] = _too_long(greedy) + _too_long(synthetic)
        frame = pl.concat([frame, synthetic])
        rows_in += synthetic.height
    return table_output(frame, rows_in=rows_in, judge_digest=model.digest, **numbers, **robustness, **costs)


def _held_out_verdicts(family: Family, judge: Sampler, items: pl.DataFrame | None) -> pl.DataFrame | None:
    """The greedy verdicts on the held-out synthetic pairs; None where there are none."""
    if items is None or items.is_empty():
        return None
    return judge.verdicts(measurement_requests(family.recipe, items), "greedy")


def _too_long(verdicts: pl.DataFrame) -> int:
    """Verdicts that count as wrong because the judge could not be asked."""
    return int((verdicts["finish_reason"] == TOO_LONG).sum())


def _held_out_numbers(synthetic: pl.DataFrame, benchmark: pl.DataFrame) -> dict[str, int | float]:
    """Metadata: accuracy on held-out pairs, and by how much it exceeds that on the first benchmark."""
    scores = score(synthetic)
    gap = overfit_gap(scores, score(benchmark))
    return {
        "held_out_accuracy": scores.accuracy,
        "held_out_accuracy_low": scores.interval.low,
        "held_out_accuracy_high": scores.interval.high,
        "held_out_verdicts": scores.n,
        "overfit_gap": gap.value,
        "overfit_gap_low": gap.interval.low,
        "overfit_gap_high": gap.interval.high,
    }


def _subset_table(subsets: dict[str, SubsetRow]) -> dg.TableMetadataValue:
    """Everything that is known of every subset; intervals as text."""
    records = [
        {
            "subset": name,
            **{
                column: " to ".join(f"{end:.4f}" for end in cell) if isinstance(cell, list) else cell
                for column, cell in row.items()
                if cell is not None
            },
        }
        for name, row in subsets.items()
    ]
    names = {column: None for record in records for column in record}
    schema = dg.TableSchema([dg.TableColumn(name) for name in names])
    return dg.MetadataValue.table([dg.TableRecord(dict.fromkeys(names, "") | record) for record in records], schema)


def _measure(verdicts: pl.DataFrame, earlier: dict[str, pl.DataFrame | None], form: str) -> dict[str, object]:
    """Tested against the seed and the iteration before, as far as they were measured on the same pairs."""
    comparable = {name: table if same_items(table, verdicts) else None for name, table in earlier.items()}
    return measure(verdicts, seed=comparable["seed"], previous=comparable["previous"], form=form)
