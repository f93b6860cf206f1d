"""Great Expectations alone, on the files of a loop that was sampled and trained."""

import shutil
from dataclasses import replace
from pathlib import Path

from selftaught_assets.checks.project import build_docs, export_project
from selftaught_assets.checks.suites import declared_suites
from selftaught_assets_tests.assets.loop import Loop
from selftaught_assets_tests.checks.test_project import run_alone


def test_an_exported_project_runs_on_the_files_of_a_loop(two_iterations: Loop, tmp_path: Path) -> None:
    """So small a loop breaks some warnings, and nothing that blocks."""
    exported = export_project(tmp_path / "project", two_iterations.recipe, two_iterations.layout)
    assert exported.tables == 3 + 2 * 5
    found = run_alone(tmp_path / "project")
    assert {name.split()[0] for name in found["broken"]} == {
        f"tables-{asset}_{iteration}"
        for asset in ("instructions", "pairs", "judgments", "filtered_set", "evaluation")
        for iteration in ("iteration_01", "iteration_02")
    } | {"tables-instruction_pool", "tables-benchmarks", "tables-seed_evaluation"}
    critical = {
        rule.name
        for suite in declared_suites(two_iterations.recipe)
        for rule in suite.rules
        if rule.severity == "critical"
    }
    assert not critical & {rule for rules in found["broken"].values() for rule in rules}


def test_data_docs_are_built_of_what_the_steps_kept(two_iterations: Loop, tmp_path: Path) -> None:
    shutil.copytree(two_iterations.layout.validations, tmp_path / two_iterations.recipe.name / "validations")
    index = build_docs(replace(two_iterations.layout, root=tmp_path))
    pages = {
        page.parent.parent.relative_to(index.parent / "validations").as_posix()
        for page in index.parent.glob("validations/*/*/*/*.html")
    }
    assert {"checkpoint/iteration_01", "judge/iteration_02", "pairs/iteration_02", "benchmarks/benchmarks"} <= pages
