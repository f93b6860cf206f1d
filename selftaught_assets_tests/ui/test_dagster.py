"""Dagster's UI on a fresh instance with the small recipe, used as a user does it. The tests build on each other, in the
order in which they stand."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
import pytest

from selftaught_assets.review.answers import agreement
from selftaught_assets.review.rows import read_rows
from selftaught_assets.review.service import Review, build_app
from selftaught_assets_tests import live
from selftaught_assets_tests.browser import Watched, screenshot, watched_page
from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.judge.serving import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from selftaught_assets.storage.layout import Layout
    from selftaught_assets_tests.ui.dagster_pages import DagsterPages

_NODES = "query Nodes { assetNodes { assetKey { path } groupName } }"


@dataclass
class World:
    """A running Dagster, and a browser on it."""

    dagster: live.World
    pages: "DagsterPages"
    watched: Watched

    @property
    def page(self) -> "Page":
        return self.watched.page

    @property
    def layout(self) -> "Layout":
        return self.dagster.layout

    def groups(self) -> dict[str, list[str]]:
        """The names of all assets by group, as the code location has them."""
        groups: dict[str, list[str]] = {}
        for node in self.dagster.dagster.graphql(_NODES)["assetNodes"]:
            groups.setdefault(node["groupName"], []).append(node["assetKey"]["path"][-1])
        return groups


@pytest.fixture(scope="module")
def world(browser: "Browser", dagster_shipped: live.World) -> Iterator[World]:
    from selftaught_assets_tests.ui.dagster_pages import DagsterPages

    with watched_page(browser, height=720, scale=1.5) as watched:
        yield World(dagster_shipped, DagsterPages(watched, dagster_shipped), watched)


@pytest.fixture(autouse=True)
def _nothing_is_wrong_with_the_page(world: World) -> Iterator[None]:
    yield
    world.watched.assert_clean()


def test_the_graph_shows_every_asset_in_its_group(world: World) -> None:
    groups = world.groups()
    assert len(groups) > 1
    world.pages.open_graph(groups)
    expected = sorted([*groups, *(asset for assets in groups.values() for asset in assets)])
    world.pages.graph_nodes().nth(len(expected) - 1).wait_for()
    assert sorted(world.pages.graph_nodes().all_text_contents()) == expected


def test_an_iteration_is_materialized_by_clicking(world: World) -> None:
    with world.dagster.dagster.fresh_runs():
        assert world.pages.materialize_job("small_iteration", "iteration_01") == "Success"
    world.pages.open_asset("small/evaluation", "partitions")
    world.page.get_by_text("Materialized (1)").wait_for()


def test_one_iteration_is_one_point_of_the_plot(world: World) -> None:
    assert 0 < world.pages.plot_span("small/evaluation", "accuracy") < 0.1


def test_a_backfill_of_all_iterations_is_launched_by_clicking(world: World) -> None:
    world.pages.launch_backfill("small_iteration")
    with world.pages.looking_away():
        wait_for(lambda: ended(world) == ["iteration_01"])


def test_each_run_of_it_begins_when_the_one_before_has_ended_and_then_it_ends(world: World) -> None:
    assert world.pages.end_of_backfill() == "Succeeded"
    assert ended(world) == list(world.dagster.iterations)
    assert all(one.end_time <= other.start_time for one, other in itertools.pairwise(records(world)))
    world.pages.open_asset("small/evaluation", "partitions")
    world.page.get_by_text("Materialized (3)").wait_for()


def ended(world: World) -> list[str]:
    """The iterations that the backfill has made, in their order."""
    return [record.dagster_run.tags["dagster/partition"] for record in records(world) if record.end_time]


def records(world: World) -> list[dg.RunRecord]:
    found = world.dagster.instance.get_run_records(ascending=True)
    return [record for record in found if "dagster/backfill" in record.dagster_run.tags]


def test_the_accuracy_is_plotted_over_the_iterations(world: World) -> None:
    assert world.pages.plot_span("small/evaluation", "accuracy") > 0.5
    screenshot(world.page, "accuracy_plot")


def test_the_graph_is_green_when_all_is_materialized(world: World) -> None:
    assert world.pages.materialize_job("small_progress") == "Success"
    groups = world.groups()
    world.pages.open_graph(groups)
    world.pages.materialized_nodes().nth(sum(map(len, groups.values())) - 1).wait_for()
    screenshot(world.page, "asset_graph")


def test_metadata_and_checks_of_a_partition_show(world: World) -> None:
    world.pages.open_asset("small/pairs", "partitions", "iteration_02")
    for name in ("rows_in", "rows_kept"):
        world.page.get_by_text(name, exact=True).first.wait_for()
    world.pages.open_asset("small/pairs", "checks")
    world.page.get_by_text("rows_accounted", exact=True).first.wait_for()
    world.page.get_by_text("Succeeded", exact=True).first.wait_for()
    assert world.page.get_by_text("Failed", exact=True).count() == 0


def test_what_the_judge_wrote_is_reviewed_by_hand(world: World, browser: "Browser") -> None:
    rows = read_rows(world.layout, "judgments", "iteration_01", n=10, seed=1)
    review = Review(world.layout, "judgments", "iteration_01", "anna", rows)
    with served(build_app(review)) as address, watched_page(browser, height=640, scale=1.5) as watched:
        watched.page.goto(address)
        for number, row in enumerate(rows[:3], start=1):
            watched.page.get_by_text(f"row {number} of 10").wait_for()
            watched.page.keyboard.press(row.label[0])
        watched.page.get_by_text("all stored").wait_for()
        screenshot(watched.page, "review")
        watched.assert_clean()
    (found,) = agreement(world.layout)
    assert (found["n"], found["agreed"]) == (3, 3)


def test_a_bad_pair_fails_its_blocking_check_shows_its_row_and_stops_what_follows(world: World) -> None:
    world.dagster.change("pairs", min_valid_share=1.0)
    assert world.pages.materialize_job("small_iteration", "iteration_01") == "Failure"
    world.dagster.change("pairs", min_valid_share=0.5)
    world.page.get_by_text("Dependencies for step small__judgments failed").first.wait_for()
    for asset, times in (("pairs", 3), ("judgments", 2)):
        world.pages.open_asset(f"small/{asset}", "partitions", "iteration_01")
        world.page.get_by_text(f"View all historical events ({times})").wait_for()
    world.pages.open_check("small/pairs", "pair_validity")
    world.page.get_by_text("This is a blocking asset check.").wait_for()
    world.page.get_by_text("Failed", exact=True).first.wait_for()
    pairs = pl.read_parquet(world.layout.table("pairs", "iteration_01"))
    invalid = pairs.filter(pl.col("drop_reason").is_not_null())
    assert invalid.height > 0
    for pair_id in invalid["pair_id"].head(10):  # As many as a check shows.
        world.page.locator("td").filter(has_text=pair_id).first.wait_for()
    world.page.get_by_text("Latest execution").evaluate("heading => heading.scrollIntoView()")
    screenshot(world.page, "failed_check")
