"""The component in a project of Dagster's: what its attributes become, and that two of one project stand apart."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing import DefsFolderSandbox, create_defs_folder_sandbox
from jsonschema import Draft202012Validator

import selftaught_assets
from selftaught_assets.component import Attributes, SelfTaughtEvaluator
from selftaught_assets.errors import UserError
from selftaught_assets.recipe import load_recipe
from selftaught_assets.storage.layout import Layout

pytestmark = pytest.mark.slow  # Each loads a project of Dagster's; together they take half a minute.


class Project:
    """A project of Dagster's, with judges in its folder of definitions."""

    def __init__(self, sandbox: DefsFolderSandbox) -> None:
        self._sandbox = sandbox

    def add(self, name: str, /, **attributes: Any) -> Path:
        """Scaffolds a judge, and replaces some of its attributes; returns the file."""
        path = self._sandbox.scaffold_component(SelfTaughtEvaluator, name) / "defs.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        values["attributes"] |= attributes
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        return path

    def definitions(self) -> dg.Definitions:
        with self._sandbox.build_all_defs() as definitions:
            return definitions

    def graph(self) -> Any:
        return self.definitions().resolve_asset_graph()

    def judge(self, path: Path) -> SelfTaughtEvaluator:
        with self._sandbox.load_component_and_build_defs(path.parent) as (component, _):
            return component


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFTAUGHT_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def project(data: Path) -> Iterator[Project]:
    with create_defs_folder_sandbox() as sandbox:
        yield Project(sandbox)


def test_the_package_exports_the_component() -> None:
    assert selftaught_assets.SelfTaughtEvaluator is SelfTaughtEvaluator
    assert "SelfTaughtEvaluator" in dir(selftaught_assets)


def test_what_is_scaffolded_loads_under_the_name_of_its_folder(project: Project) -> None:
    path = project.add("support_judge")
    recipe = project.judge(path).recipe
    assert (recipe.name, recipe.seed_model) == ("support_judge", path.parent / "seed_model")


def test_python_is_scaffolded_too(project: Project) -> None:
    project._sandbox.scaffold_component(SelfTaughtEvaluator, "in_python", scaffold_format="python")
    assert dg.AssetKey(["in_python", "pairs"]) in project.graph().get_all_asset_keys()


def test_the_commands_read_the_same_recipe_from_the_file(project: Project) -> None:
    path = project.add("judge", seed=7)
    assert load_recipe(str(path)) == project.judge(path).recipe


def test_two_judges_of_a_project_share_no_name_and_no_folder(project: Project, data: Path) -> None:
    paths = [project.add(name) for name in ("one", "two")]
    definitions = project.definitions()
    graph = definitions.resolve_asset_graph()
    groups: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(key.path[0], set()).add(graph.get(key).group_name)
    assert sorted(groups) == ["one", "two"]
    assert not groups["one"] & groups["two"]
    jobs = {job.name for job in definitions.resolve_all_job_defs()}
    assert {"one_prepare", "one_iteration", "one_progress", "two_prepare", "two_iteration", "two_progress"} <= jobs
    made = {key.path[0] for key in definitions.resolve_job_def("two_iteration").asset_layer.selected_asset_keys}
    assert made == {"two"}
    assert {sensor.name for sensor in definitions.sensors} == {"one_roll_on", "two_roll_on"}
    assert [Layout.of(project.judge(path).recipe).folder for path in paths] == [data / "one", data / "two"]


def test_judges_of_one_name_stand_apart_by_their_key_prefix(project: Project, data: Path) -> None:
    paths = [project.add(f"{team}/judge", assets={"key_prefix": [team]}) for team in ("search", "support")]
    keys = project.graph().get_all_asset_keys()
    assert {dg.AssetKey(["search", "judge", "pairs"]), dg.AssetKey(["support", "judge", "pairs"])} <= keys
    assert Layout.of(project.judge(paths[0]).recipe).folder == data / "search" / "judge"


@pytest.mark.parametrize(
    "prefixes", [(["a", "b", "c"], ["a", "b_c"]), (["a"], ["a", "b"]), (["a"], ["a", "pairs"])], ids=str
)
def test_key_prefixes_that_look_alike_stand_apart(prefixes: tuple[list[str], ...], project: Project) -> None:
    for folder, (*before, name) in zip(("one", "two"), prefixes, strict=True):
        project.add(folder, name=name, assets={"key_prefix": before})
    definitions = project.definitions()
    graph = definitions.resolve_asset_graph()
    groups: dict[str, set[tuple[str, ...]]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(graph.get(key).group_name, set()).add(tuple(key.path[:-1]))
    jobs = [
        {tuple(key.path[:-1]) for key in job.asset_layer.selected_asset_keys}
        for job in definitions.resolve_all_job_defs()
        if not job.name.startswith("__")
    ]
    assert len(jobs) == 6
    assert all(len(members) == 1 for members in (*groups.values(), *jobs))


def test_an_asset_of_others_below_the_key_prefix_is_in_none_of_the_jobs(project: Project) -> None:
    project.add("judge")

    @dg.asset(key_prefix="judge")
    def extra() -> None: ...

    definitions = dg.Definitions.merge(project.definitions(), dg.Definitions(assets=[extra]))
    selected = definitions.resolve_job_def("judge_iteration").asset_layer.selected_asset_keys
    assert dg.AssetKey(["judge", "extra"]) not in selected


def test_groups_owners_and_tags_are_chosen_in_the_file(project: Project) -> None:
    shown = {"groups": {"data": "ML/sources"}, "owners": ["me@example.com"], "tags": {"domain": "support"}}
    project.add("judge", assets=shown)
    graph = project.graph()
    pairs, judgments = (graph.get(dg.AssetKey(["judge", name])) for name in ("pairs", "judgments"))
    assert (pairs.group_name, judgments.group_name) == ("ML/sources", "judge_judging")
    assert list(pairs.owners) == ["me@example.com"]
    assert pairs.tags["domain"] == "support"


def test_odd_owners_and_tags_that_a_recipe_takes_dagster_takes_as_well(project: Project) -> None:
    tags = {"name.space/a-key": "1_000.5-x", "empty": "", "k" * 63: "v" * 63}
    project.add("judge", assets={"owners": ["a.b+c@mail.example.org", "team:in two words"], "tags": tags})
    pairs = project.graph().get(dg.AssetKey(["judge", "pairs"]))
    assert pairs.tags.items() >= tags.items()


@pytest.mark.parametrize(
    ("automation", "status"),
    [("stopped", dg.DefaultSensorStatus.STOPPED), ("running", dg.DefaultSensorStatus.RUNNING), ("none", None)],
)
def test_automation_is_chosen_in_the_file(
    automation: str, status: dg.DefaultSensorStatus | None, project: Project
) -> None:
    project.add("judge", assets={"automation": automation})
    definitions = project.definitions()
    ours = [sensor.default_status for sensor in definitions.sensors or [] if sensor.name == "judge_roll_on"]
    assert ours == ([status] if status else [])
    conditions = [node.automation_condition for node in definitions.resolve_asset_graph().asset_nodes]
    assert any(conditions) is (status is not None)


def test_iterations_are_the_partitions(project: Project) -> None:
    project.add("judge", iterations=2)
    pairs = project.graph().get(dg.AssetKey(["judge", "pairs"]))
    assert pairs.partitions_def.get_partition_keys() == ["iteration_01", "iteration_02"]


def test_variables_of_the_environment_are_filled_in(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_SEED", "41")
    path = project.add("judge", seed="{{ env.JUDGE_SEED }}", iterations="{{ env('JUDGE_ROUNDS', '2') }}")
    recipe = project.judge(path).recipe
    assert (recipe.seed, recipe.iterations) == (41, 2)
    assert load_recipe(str(path)) == recipe


def test_a_template_runs_nothing(project: Project) -> None:
    path = project.add("judge", journal="{{ ''.__class__.__mro__[1].__subclasses__() }}")
    with pytest.raises(UserError, match="cannot be filled in"):
        load_recipe(str(path))


def test_a_variable_that_is_not_set_is_one_sentence(project: Project) -> None:
    path = project.add("judge", seed="{{ env.JUDGE_SEED_THAT_NOBODY_SET }}")
    with pytest.raises(UserError, match="JUDGE_SEED_THAT_NOBODY_SET is not set"):
        load_recipe(str(path))


def test_a_template_that_only_dagster_fills_in_is_one_sentence(project: Project) -> None:
    path = project.add("judge", journal="{{ context.project_root }}/journal")
    with pytest.raises(UserError, match=r"cannot be filled in \(known here: env\): 'context' is undefined"):
        load_recipe(str(path))
    assert str(project.judge(path).recipe.journal).endswith("/journal")


@pytest.mark.parametrize(
    ("value", "attributes"),
    [
        ("true", {"assets": {"tags": {"domain": "{{ env.VALUE }}"}}}),
        ("runs #1", {"journal": "{{ env.VALUE }}"}),
        ("{{ 7 * 7 }}", {"journal": "{{ env.VALUE }}"}),
        ("team:support", {"assets": {"owners": ["{{ env.VALUE }}", "{{ env('NOBODY_SET_THIS', 'team:b') }}"]}}),
        ("3", {"seed": "{{ env.VALUE | int + 1 }}"}),
        ("null", {"assets": {"tags": {"domain": "v{{ env.VALUE }}"}}}),
    ],
)
def test_a_template_means_the_same_to_dagster_and_to_the_commands(
    value: str, attributes: dict[str, Any], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUE", value)
    path = project.add("judge", **attributes)
    assert load_recipe(str(path)) == project.judge(path).recipe


def test_a_text_without_a_template_stays_as_it_is(project: Project) -> None:
    texts = ["\n", "1", "None", "[1]", "end\n"]
    path = project.add("judge", judgments={"sampling": {"stop": texts}}, assets={"tags": {"version": "2"}})
    recipe = project.judge(path).recipe
    assert list(recipe.judgments.sampling.stop) == texts
    assert recipe.assets.tags == {"version": "2"}


@pytest.mark.parametrize("attributes", [None, {}])
def test_without_attributes_the_first_missing_field_is_named(attributes: object, project: Project) -> None:
    path = project.add("judge")
    values = {"type": "selftaught_assets.SelfTaughtEvaluator", "attributes": attributes}
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match="field `pool` is missing"):
        load_recipe(str(path))
    with pytest.raises(Exception, match="error") as raised:
        project.judge(path)
    assert "field `pool` is missing" in str(raised.value.__cause__)


def test_attributes_that_are_no_mapping_are_one_sentence(project: Project) -> None:
    path = project.add("judge")
    path.write_text("type: selftaught_assets.SelfTaughtEvaluator\nattributes: [1]\n", encoding="utf-8")
    with pytest.raises(UserError, match="`attributes` must be a mapping"):
        load_recipe(str(path))


def test_a_linked_folder_gives_its_own_name(project: Project) -> None:
    path = project.add("judge")
    linked = path.parent.with_name("linked")
    linked.symlink_to(path.parent)
    assert load_recipe(str(linked / "defs.yaml")).name == "linked"
    assert project.judge(linked / "defs.yaml").recipe.name == "linked"
    assert load_recipe(str(linked / "tinyworld" / ".." / "defs.yaml")).name == "linked"


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"sed": 1}, "unknown field `sed`"),
        ({"iterations": 0}, "`iterations` is 0"),
        ({"pool": {"path": "nothing.jsonl"}}, "which does not exist"),
        ({"assets": {"key_prefix": ["a/b"]}}, "`assets.key_prefix.0` is 'a/b'"),
        ({"assets": {"key_prefix": ["a__b"]}}, "`assets.key_prefix.0` is 'a__b'"),
        ({"assets": {"owners": ["bob"]}}, "`assets.owners.0` is 'bob': an owner is an e-mail address, or a team"),
        ({"assets": {"owners": ["team:"]}}, "`assets.owners.0` is 'team:'"),
        ({"assets": {"tags": {"a b": "x"}}}, "a b: x is no tag for Dagster"),
        ({"assets": {"tags": {"a": "x y"}}}, "a: x y is no tag for Dagster"),
    ],
)
def test_a_mistake_in_the_attributes_is_one_sentence(attributes: dict[str, Any], said: str, project: Project) -> None:
    path = project.add("judge", **attributes)
    with pytest.raises(UserError, match=said):
        load_recipe(str(path))
    with pytest.raises(Exception) as raised:
        project.judge(path)
    causes = [raised.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert said in str(causes[-1])


@pytest.mark.parametrize(
    ("attributes", "valid"),
    [
        ({}, True),
        ({"seed": "{{ env.SEED }}", "training": {"epochs": "{{ env.EPOCHS }}"}}, True),
        ({"assets": {"automation": "{{ env.AUTOMATION }}"}}, True),
        ({"name": "{{ env.NAME }}", "promotion": {"stop_when_flat": "{{ env.FLAT }}"}}, True),
        ({"assets": {"key_prefix": ["{{ env.TEAM }}"], "owners": "{{ owners }}"}}, True),
        ({"engine": "vllm"}, True),
        ({"engine": "{{ env.ENGINE }}"}, True),
        ({"checks": {"suites": {"pairs": "suite.json"}}}, True),
        ({"engine": "nothing"}, False),
        ({"name": "Judge"}, False),
        ({"seed": "one"}, False),
        ({"sed": 1}, False),
        ({"training": {"epoch": 1}}, False),
    ],
)
def test_the_schema_knows_recipes_and_templates(attributes: dict[str, Any], valid: bool, project: Project) -> None:
    values = yaml.safe_load(project.add("judge", **attributes).read_text(encoding="utf-8"))["attributes"]
    assert Draft202012Validator(Attributes.model_json_schema()).is_valid(json.loads(json.dumps(values))) is valid
