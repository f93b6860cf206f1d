"""Pages of Dagster's own UI as a user clicks through them; version 1.13.27, whose texts and roles these are.

Belongs here: where to click, and what to wait for. Not here: what should be seen (test_dagster.py).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from playwright.sync_api import expect

from selftaught_assets_tests.browser import SETTLING, Watched
from selftaught_assets_tests.dagster_dev import LOCATION
from selftaught_assets_tests.engines.processes import wait_for
from selftaught_assets_tests.live import World

if TYPE_CHECKING:
    from playwright.sync_api import Locator

ENDED = re.compile(r"^(Success|Failure|Canceled)$")
PLOT_COLOR = (79, 67, 221)

_SPAN_OF_COLOR = """(canvas, [red, green, blue]) => {
    const {data, width} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const near = (value, wanted) => Math.abs(value - wanted) < 12;
    const columns = [];
    for (let at = 0; at < data.length; at += 4)
        if (near(data[at], red) && near(data[at + 1], green) && near(data[at + 2], blue) && data[at + 3] > 200)
            columns.push((at / 4) % canvas.width);
    return columns.length ? (Math.max(...columns) - Math.min(...columns)) / canvas.width : 0;
}"""


class DagsterPages:
    """One browser page on one running Dagster."""

    def __init__(self, watched: Watched, world: World) -> None:
        self.page = page = watched.page
        self._watched = watched
        self._world = world
        self._address = f"http://127.0.0.1:{world.dagster.port}"
        page.add_init_script("localStorage.setItem('dagster-nav-collapsed', 'true')")  # Room for what is looked at.
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)

    def open_graph(self, groups: Iterable[str]) -> None:
        """The lineage of all assets, these groups opened, without the list beside it."""
        opened = ",".join(f"global@global:{group}" for group in groups)
        self.page.goto(f"{self._address}/asset-groups?expanded={opened}")
        self.page.get_by_role("img", name="panel_show_right").click()

    def graph_nodes(self) -> "Locator":
        """Names of groups and assets in the graph."""
        return self.page.locator("foreignObject").filter(has_text=re.compile("."))

    def materialized_nodes(self) -> "Locator":
        """Assets in the graph that are drawn green."""
        return self.page.locator('foreignObject [style*="--color-background-green"]')

    def open_asset(self, key: str, view: str = "overview", partition: str = "") -> None:
        """The page of an asset: overview, partitions, checks, …"""
        self.page.goto(f"{self._address}/assets/{key}?view={view}&partition={partition}")

    def open_check(self, key: str, name: str) -> None:
        """The page of the checks of an asset, at one of them."""
        self.page.goto(f"{self._address}/assets/{key}?view=checks&checkDetail={name}")

    def materialize_job(self, job: str, partition: str | None = None) -> str:
        """Clicks a job of assets through to its run; returns the status in which the run ends."""
        self._open_launcher(job)
        if partition is not None:
            dialog = self.page.get_by_role("dialog")
            dialog.get_by_text("Select a partition").click()
            self.page.get_by_text(partition, exact=True).first.click()
            self.page.keyboard.press("Escape")
            dialog.get_by_role("button", name="Launch 1 run").click()
        self._view_launched("Launched run")
        self.page.wait_for_url("**/runs/*")
        run = self._id_of_page()
        with self.looking_away():
            wait_for(lambda: self._world.instance.get_run_by_id(run).is_finished)
        status = self.page.get_by_text(ENDED).first
        status.wait_for()
        return status.inner_text()

    def launch_backfill(self, job: str) -> None:
        """Clicks a backfill of all partitions of a job through to its page."""
        self._open_launcher(job)
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("button", name="All", exact=True).click()
        dialog.get_by_role("button", name="Launch backfill").click()
        self._view_launched("Created backfill")
        expect(self._status()).to_contain_text("In progress")

    def end_of_backfill(self) -> str:
        """The status in which the backfill ends whose page is open."""
        backfill = self._id_of_page()
        with self.looking_away():
            self._world.dagster.wait_for_backfill(backfill)
        expect(self._status()).not_to_contain_text("In progress")
        return self._status().inner_text().removeprefix("Status").strip()

    def plot_span(self, key: str, number: str) -> float:
        """Opens the metadata plots of an asset.

        Returns:
            Which share of its width the line of one plot takes: 0 without points, little for a single one.
        """
        self.open_asset(key)
        self.page.get_by_role("button", name="Plots").click()
        title = self.page.get_by_text(number, exact=True).last
        canvas = title.locator("xpath=ancestor::div[.//canvas][1]//canvas").first
        canvas.scroll_into_view_if_needed()
        return canvas.evaluate(_SPAN_OF_COLOR, list(PLOT_COLOR))

    @contextmanager
    def looking_away(self) -> Iterator[None]:
        """Shows nothing for a while: to draw a run that goes on takes half a processor."""
        address, errors = self.page.url, len(self._watched.errors)
        self.page.goto("about:blank")
        self.page.wait_for_timeout(SETTLING)
        del self._watched.errors[errors:]  # The page calls it an error that it is left before it has got everything.
        yield
        self.page.goto(address)

    def _id_of_page(self) -> str:
        """Of the run or the backfill whose page is open."""
        return urlsplit(self.page.url).path.rpartition("/")[2]

    def _status(self) -> "Locator":
        return self.page.get_by_text("Status", exact=True).locator("xpath=..")

    def _open_launcher(self, job: str) -> None:
        self.page.goto(f"{self._address}/locations/{LOCATION}/jobs/{job}")
        self.page.get_by_role("button", name=re.compile("Materialize")).click()

    def _view_launched(self, said: str) -> None:
        self.page.get_by_text(said).wait_for()
        self.page.get_by_text("View", exact=True).click()
