"""The graph as a reviewer sees it: a change of it is a change of this file."""

from typing import Any

import dagster as dg
import pytest

from selftaught_assets.definitions import build_definitions, defs
from selftaught_assets.errors import UserError

GRAPH = {
    # asset: (group, partitioned, automated, upstream)
    "instruction_pool": ("sources", False, True, []),
    "seed_model": ("sources", False, True, []),
    "benchmarks": ("sources", False, True, []),
    "instructions": ("data", True, True, ["instruction_pool"]),
    "pairs": ("data", True, True, ["instructions", "seed_model"]),
    "judge": ("judging", True, False, ["seed_model"]),
    "judgments": ("judging", True, True, ["judge", "pairs"]),
    "filtered_set": ("judging", True, True, ["judgments", "pairs"]),
    "checkpoint": ("training", True, True, ["filtered_set", "seed_model"]),
    "evaluation": ("evaluation", True, True, ["benchmarks", "checkpoint", "pairs"]),
    "seed_evaluation": ("evaluation", False, True, ["benchmarks", "seed_model"]),
    "progress": ("evaluation", False, True, ["evaluation", "seed_evaluation"]),
    "report": ("evaluation", False, True, ["evaluation", "seed_evaluation"]),
}
OF_INSTRUCTIONS = {
    "no_benchmark_overlap",
    "no_benchmark_overlap_warnings",
    "rows_accounted",
    "usable_text",
    "usable_text_warnings",
}
CHECKS = {
    "instruction_pool": OF_INSTRUCTIONS | {"few_repetitions"},
    "benchmarks": {"labels_read", "rows_accounted"},
    "instructions": OF_INSTRUCTIONS | {"count_reached"},
    "pairs": {
        "construction_yield",
        "length_bias",
        "modification_similarity",
        "near_duplicates",
        "pair_validity",
        "refusals",
        "rows_accounted",
        "strategy_share",
        "surface_signs",
    },
    "judge": {"is_predecessor", "is_predecessor_warnings"},
    "judgments": {
        "judgment_quality",
        "kept_pairs_sampled",
        "kept_pairs_sampled_warnings",
        "position_bias",
        "rows_accounted",
        "verdicts_reparsed",
    },
    "filtered_set": {
        "diversity",
        "label_balance",
        "label_not_leaked",
        "length_by_label",
        "one_example_per_pair",
        "rows_accounted",
        "smallest_size",
        "splits_apart",
    },
    "checkpoint": {"digest", "loss", "loss_warnings", "weights", "weights_warnings"},
    "evaluation": {"beyond_chance", "invalid_share", "not_worse", "overfit_gap", "rows_accounted"},
    "seed_evaluation": {"beyond_chance", "invalid_share", "rows_accounted"},
}
"""Without a category of the pool."""


@pytest.fixture
def graph(small_recipe, tmp_path) -> Any:
    return build_definitions([small_recipe()], data=tmp_path).resolve_asset_graph()


def test_assets_have_their_group_partitions_and_upstream(graph) -> None:
    found = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        upstream = sorted(parent.path[-1] for parent in node.parent_keys)
        automated = node.automation_condition is not None
        found[key.path[-1]] = (
            node.group_name.removeprefix("small_"),
            node.partitions_def is not None,
            automated,
            upstream,
        )
    assert found == GRAPH


def test_every_asset_is_described_owned_and_versioned(graph) -> None:
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description and node.owners and node.code_version and node.kinds, key


def test_every_asset_has_its_checks_partitioned_as_it_is_and_one_that_blocks(graph) -> None:
    found: dict[str, set[str]] = {}
    blocking = set()
    for key in graph.asset_check_keys:
        node = graph.get(key)
        blocking |= {key.asset_key.path[-1]} if node.blocking else set()
        assert (node.partitions_def is not None) is GRAPH[key.asset_key.path[-1]][1]
        found.setdefault(key.asset_key.path[-1], set()).add(key.name)
    assert found == CHECKS
    assert blocking == set(CHECKS)


def test_judge_is_upstream_of_a_checkpoint_that_continues_it(small_recipe, tmp_path) -> None:
    recipe = small_recipe(training={"start_from": "previous"})
    graph = build_definitions([recipe], data=tmp_path).resolve_asset_graph()
    parents = graph.get(dg.AssetKey(["small", "checkpoint"])).parent_keys
    assert {parent.path[-1] for parent in parents} == {"filtered_set", "judge", "seed_model"}


def test_judge_and_benchmarks_are_upstream_of_a_checkpoint_that_is_compared(small_recipe, tmp_path) -> None:
    recipe = small_recipe(promotion={"rule": "better", "validation": "tiny"})
    graph = build_definitions([recipe], data=tmp_path).resolve_asset_graph()
    parents = graph.get(dg.AssetKey(["small", "checkpoint"])).parent_keys
    assert {parent.path[-1] for parent in parents} == {"filtered_set", "judge", "benchmarks", "seed_model"}


def test_partition_keys_sort_as_strings_in_the_order_of_iterations(small_recipe, tmp_path) -> None:
    graph = build_definitions([small_recipe(iterations=12)], data=tmp_path).resolve_asset_graph()
    keys = graph.get(dg.AssetKey(["small", "pairs"])).partitions_def.get_partition_keys()
    assert keys == sorted(keys)
    assert keys[9:11] == ["iteration_10", "iteration_11"]


def test_recipes_stand_side_by_side(small_recipe, tmp_path) -> None:
    recipes = [small_recipe(), small_recipe(name="other")]
    keys = build_definitions(recipes, data=tmp_path).resolve_asset_graph().get_all_asset_keys()
    assert len(keys) == 2 * len(GRAPH)


def test_recipes_of_one_name_are_refused(small_recipe, tmp_path) -> None:
    with pytest.raises(UserError, match="Recipe names must differ, but these were given: small, small; correct"):
        build_definitions([small_recipe(), small_recipe()], data=tmp_path)


def test_recipes_merge_with_definitions_that_have_an_executor_and_resources_of_their_own(
    small_recipe, tmp_path
) -> None:
    @dg.asset(group_name="data")
    def other() -> None: ...

    resources = {"tables": dg.ResourceDefinition.none_resource(), "io_manager": dg.mem_io_manager}
    others = dg.Definitions([other], resources=resources, executor=dg.in_process_executor)
    merged = dg.Definitions.merge(build_definitions([small_recipe()], data=tmp_path), others)
    dg.Definitions.validate_loadable(merged)
    assert merged.executor is dg.in_process_executor


def test_recipe_that_the_environment_names_twice_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setenv("SELFTAUGHT_RECIPES", "demo, demo,")
    with pytest.raises(UserError, match="were given: demo, demo; correct SELFTAUGHT_RECIPES"):
        defs()


def test_dagster_refuses_the_edge_that_is_recorded_instead_of_drawn() -> None:
    partitions = dg.StaticPartitionsDefinition(["1", "2"])
    to_next = dg.StaticPartitionMapping({"1": "2"})

    @dg.asset(partitions_def=partitions, ins={"checkpoint": dg.AssetIn(partition_mapping=to_next)})
    def judgments(checkpoint) -> None: ...

    @dg.asset(partitions_def=partitions)
    def checkpoint(judgments) -> None: ...

    with pytest.raises(Exception, match=r"[Cc]ircular"):
        dg.Definitions(assets=[judgments, checkpoint]).resolve_asset_graph().toposorted_asset_keys  # noqa: B018


def test_everything_that_asks_for_verdicts_or_reads_them_is_stale_when_their_format_changes(
    small_recipe, tmp_path
) -> None:
    before, after = (
        build_definitions([small_recipe(verdicts={"ties": ties})], data=tmp_path).resolve_asset_graph()
        for ties in (False, True)
    )
    changed = {
        node.key.path[-1] for node in after.asset_nodes if node.code_version != before.get(node.key).code_version
    }
    assert changed == {"judgments", "filtered_set", "evaluation", "seed_evaluation"}


def test_nothing_is_stale_when_only_thresholds_of_checks_change(small_recipe, tmp_path) -> None:
    before, after = (
        build_definitions([small_recipe(checks=checks)], data=tmp_path).resolve_asset_graph()
        for checks in ({}, {"max_refusal_share": 0.5, "min_train_examples": 7})
    )
    versions = [{node.key: node.code_version for node in graph.asset_nodes} for graph in (before, after)]
    assert versions[0] == versions[1]


def test_evaluation_is_stale_when_other_pairs_are_held_out(small_recipe, tmp_path) -> None:
    before, after = (
        build_definitions([small_recipe(filter={"validation_share": share})], data=tmp_path).resolve_asset_graph()
        for share in (0.1, 0.2)
    )
    changed = {
        node.key.path[-1] for node in after.asset_nodes if node.code_version != before.get(node.key).code_version
    }
    assert changed == {"filtered_set", "evaluation"}
