"""What Great Expectations makes of the checks by itself: an exported project, and Data Docs."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.checks.expectations import as_read, wilson_interval
from selftaught_assets.checks.project import build_docs, export_project, stored_expectations, write_validation
from selftaught_assets.checks.results import great_expectations, made, validate
from selftaught_assets.checks.rules import RowRule, Subject
from selftaught_assets.checks.suites import IDS, declared_suites, own_suites
from selftaught_assets.errors import UserError
from selftaught_assets.method.identity import VISIBLE, is_empty, normalized_instruction, with_single_spaces
from selftaught_assets.method.scoring import statistics
from selftaught_assets.recipe import Recipe
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.checks.tables import Tables, first_kept, spoil, write_recipe
from selftaught_assets_tests.checks.test_own_suites import NOT_LONG, write_suite
from selftaught_assets_tests.checks.test_suites import PROOFS
from selftaught_assets_tests.checks.world import FIRST, SECOND, World

FAULTS = [fault for module in PROOFS for fault in module.FAULTS if fault.asset in IDS]

WITHOUT_US = """
import json, re, sys
sys.modules["selftaught_assets"] = None  # Importing it raises, wherever it is installed.
readme = open("README.md", encoding="utf-8").read()
exec(re.search(r"```python\\n(.*?)```", readme, re.DOTALL).group(1).replace("print(", "str("))
broken = {
    f"{key.batch_identifier} {found.suite_name}": [
        one.expectation_config.meta.get("rule") for one in found.results if not one.success
    ]
    for key, found in result.run_results.items()
}
print(json.dumps({"success": result.success, "broken": broken}))
"""


def run_alone(project: Path) -> dict[str, Any]:
    """Runs an exported project as its README says, in a process that cannot import this package."""
    command = [sys.executable, "-I", "-c", WITHOUT_US]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def stored(tables: Tables, recipe: Recipe, root: Path) -> Layout:
    layout = Layout(root, recipe.name)
    for name, table in tables.items():
        for partition in (None,) if layout_is_flat(name) else (FIRST, SECOND):
            path = layout.table(name, partition)
            path.parent.mkdir(parents=True, exist_ok=True)
            table.write_parquet(path)
    return layout


def layout_is_flat(name: str) -> bool:
    return name in ("instruction_pool", "benchmarks", "seed_evaluation")


def in_project(world: World, asset: str, check: str | None = None) -> list[dict[str, Any]]:
    """The expectations of an asset, or of one of its checks, that an exported project holds."""
    columns = world.tables[asset].columns
    suites = [suite for suite in declared_suites(world.recipe) if suite.asset == asset and check in (None, suite.name)]
    return [one for suite in suites for rule in suite.rules for one in stored_expectations(suite, rule, columns)]


@cache
def batches() -> Any:
    context = great_expectations().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    return context.data_sources.add_pandas("p").add_dataframe_asset("a").add_batch_definition_whole_dataframe("b")


def broken_rules(world: World, asset: str, check: str | None = None) -> set[str]:
    """Rules that Great Expectations finds broken in the table as it is stored."""
    suite = great_expectations().ExpectationSuite(asset, [made(**one) for one in in_project(world, asset, check)])
    results = batches().get_batch({"dataframe": world.tables[asset].to_pandas()}).validate(suite).results
    assert not any(result.exception_info.get("raised_exception", True) for result in results)
    return {result.expectation_config.meta["rule"] for result in results if not result.success}


@pytest.mark.parametrize("asset", IDS)
def test_a_project_finds_nothing_in_clean_tables(asset: str, world: World):
    assert in_project(world, asset)
    assert broken_rules(world, asset) == set()


@pytest.mark.slow
def test_a_project_finds_each_planted_fault_that_the_stored_table_shows(world: World):
    """By the same rule, without the columns that the suite adds."""
    seen = 0
    for fault in FAULTS:
        check = fault.check.removesuffix("_warnings")
        if fault.rule in {one["meta"]["rule"] for one in in_project(world, fault.asset, check)}:
            assert fault.rule in broken_rules(fault.plant(world), fault.asset, check), fault.name
            seen += 1
    assert seen > 30


def test_a_suite_changes_no_column_of_the_table(world: World):
    """So a rule says the same of the table as it is stored; rows may be added, or left out."""
    for suite in declared_suites(world.recipe):
        if suite.asset not in IDS or suite.name in ("rows_accounted", "kept_pairs_sampled"):
            continue
        table = world.tables[suite.asset]
        rows = suite.rows(Subject(world.tables, world.layout, FIRST)).select(table.columns)
        assert rows.join(table, on=table.columns, how="anti", nulls_equal=True).is_empty(), suite.name


@pytest.fixture(scope="module")
def project(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About files of two iterations, with faults in the second one, and with a suite of the user's."""
    root = tmp_path_factory.mktemp("export")
    described = NOT_LONG | {"description": "No <script>alert(2)</script>."}
    suites = {"pairs": str(write_suite(root, described, {"type": "expect_table_column_count_to_be_between"}))}
    recipe = write_recipe(root, checks={"suites": suites, "min_train_examples": 5})
    layout = stored(world.tables, recipe, root / "data")
    markup = "<script>alert(1)</script> <|im_end|>"
    spoiled = spoil(world.tables["pairs"], first_kept(world.tables["pairs"]), chosen=markup, rejected=markup)
    spoiled.with_columns(instruction=pl.lit("x" * 300)).write_parquet(layout.table("pairs", SECOND))
    export_project(root / "project", recipe, layout)
    return root / "project"


@pytest.mark.slow
def test_great_expectations_alone_runs_a_project_and_finds_the_faults(project: Path):
    found = run_alone(project)
    assert not found["success"]
    broken = {name: rules for name, rules in found["broken"].items() if rules}
    assert set(broken) == {f"tables-pairs_{SECOND} pairs"}
    (rules,) = broken.values()
    assert sorted(rules) == ["responses_equal", "template_in_chosen", "template_in_rejected"]
    assert f"tables-pairs_{FIRST} pairs_house_style" in found["broken"]
    (page,) = project.glob(f"gx/uncommitted/data_docs/local_site/validations/pairs/*/*/tables-pairs_{SECOND}.html")
    text = page.read_text(encoding="utf-8")
    assert "have two equal responses" in text
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text
    pages = [page.read_text(encoding="utf-8") for page in project.glob("gx/uncommitted/**/*.html")]
    assert not any("<script>alert(2)" in page for page in pages)
    assert sum("&lt;script&gt;alert(2)" in page for page in pages) == 3  # The suite, and its result of each iteration.


def test_the_readme_of_a_project_names_every_rule_once(project: Path, world: World):
    readme = (project / "README.md").read_text(encoding="utf-8")
    missing = readme.split("## What is not in it")[1]
    for suite in declared_suites(world.recipe):
        columns = world.tables[suite.asset].columns if suite.asset in world.tables else []
        row = re.search(rf"^\| {suite.asset} \| `{suite.name}` \| (.*) \|$", missing, re.MULTILINE)
        listed = re.findall(r"`(\w+)`", row.group(1)) if row else []
        left_out = [rule.name for rule in suite.rules if not stored_expectations(suite, rule, columns)]
        assert listed == left_out, suite.name


def test_a_folder_that_holds_something_is_left_alone(world: World, tmp_path: Path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UserError, match="is not empty: name a new folder"):
        export_project(tmp_path, world.recipe, world.layout)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_tables_there_is_nothing_to_export(recipe: Recipe, tmp_path: Path):
    with pytest.raises(UserError, match=r"has no table in .* yet: run it first"):
        export_project(tmp_path / "project", recipe, Layout(tmp_path, recipe.name))


def test_data_docs_show_what_the_newest_checks_found_and_values_as_text(world: World, tmp_path: Path):
    spoiled = world.changed("pairs", lambda pairs: spoil(pairs, 5, chosen="<script>alert(1)</script> <|im_end|>"))
    layout = Layout(tmp_path, world.recipe.name)
    suites = [suite for suite in declared_suites(world.recipe) if suite.asset == "pairs"]
    for tables in (world.tables, spoiled.tables):
        subject = Subject(tables, world.layout, FIRST)
        results = [one for suite in suites for one in validate(suite, suite.rows(subject)).results]
        write_validation(layout.validation("pairs", FIRST), FIRST, results)
    index = build_docs(layout)
    assert build_docs(layout) == index == layout.data_docs / "index.html"
    (page,) = layout.data_docs.glob("validations/pairs/iteration_01/*/*.html")
    text = page.read_text(encoding="utf-8")
    assert page.relative_to(layout.data_docs).as_posix() in index.read_text(encoding="utf-8")
    assert "None of the kept pairs have template text left in the chosen response." in text
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_data_docs_show_which_distinct_values_may_not_be(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """GX counts them without a share, which its own page then looks for in vain."""
    only_a = {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": {"column": "verdict", "value_set": ["A"]}}
    suites = {"judgments": str(write_suite(tmp_path, only_a))}
    recipe = write_recipe(tmp_path, checks={"suites": suites, "min_train_examples": 5})
    (suite,) = own_suites(recipe)
    layout = Layout(tmp_path, recipe.name)
    subject = Subject(world.tables, world.layout, FIRST)
    write_validation(layout.validation("judgments", FIRST), FIRST, validate(suite, suite.rows(subject)).results)
    build_docs(layout)
    assert "unexpected Exception" not in caplog.text


def test_what_the_checks_found_and_is_damaged_gets_one_sentence(recipe: Recipe, tmp_path: Path):
    layout = Layout(tmp_path, recipe.name)
    path = layout.validation("pairs", FIRST)
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"iteration_01\.json is damaged .*: run the checks of this table again"):
        build_docs(layout)


def test_before_the_first_checks_there_are_no_data_docs(recipe: Recipe, tmp_path: Path):
    with pytest.raises(UserError, match="No checks of recipe small are on record yet"):
        build_docs(Layout(tmp_path, recipe.name))


def test_a_suite_of_the_users_that_is_unknown_is_not_exported(world: World, tmp_path: Path):
    suites = {"pairs": str(write_suite(tmp_path, {"type": "expect_nonsense"}))}
    recipe = write_recipe(tmp_path, checks={"suites": suites})
    with pytest.raises(UserError, match=r"`checks.suites.pairs`: .*my_suite.json: expect_nonsense not found"):
        export_project(tmp_path / "project", recipe, stored(world.tables, recipe, tmp_path / "data"))
    assert not (tmp_path / "project").exists()


TEXTS = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(" \t\n\x1f\x85\xa0\u2003\u3000")), max_size=12)


@given(TEXTS)
def test_what_is_empty_and_what_reads_the_same_means_the_same_as_in_the_method(text: str):
    frame = pl.DataFrame({"text": [text]})
    assert frame.select(is_empty("text")).item() is not bool(re.search(VISIBLE, text))
    assert frame.select(pl.col("text").str.contains(VISIBLE)).item() is bool(re.search(VISIBLE, text))
    assert as_read(text, ignore_case=False) == frame.select(with_single_spaces("text")).item()
    if text.isascii():  # Versions of Unicode differ in what is a small letter.
        assert as_read(text, ignore_case=True) == frame.select(normalized_instruction("text")).item()


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.8, 0.95]))
def test_the_interval_of_a_share_is_the_methods(n: int, share: float, confidence: float):
    true = round(share * n)
    assert wilson_interval(true, n, confidence) == pytest.approx(statistics.wilson_interval(true, n, confidence))


def test_a_text_of_white_space_is_empty_for_pandas_too(world: World):
    """Pandas may match with RE2, where `\\s` means less than in Polars."""
    spoiled = world.changed("pairs", lambda pairs: spoil(pairs, 5, chosen="\u3000\x85\xa0"))
    (rule,) = [rule for rule in world.suite("pairs", "pair_validity").rules if rule.name == "chosen_empty"]
    assert isinstance(rule, RowRule)
    assert spoiled.result("pairs", "pair_validity").metadata["chosen_empty"].value == 1
