"""The asset: made at any moment, on a real instance, from whatever tables and events there are."""

import base64
import io
import re
from pathlib import Path

import dagster as dg
import pytest
from PIL import Image

from selftaught_assets.assets.family import Family
from selftaught_assets.assets.history import newest_materialization, with_data_version
from selftaught_assets.assets.report import write_report
from selftaught_assets.definitions import build_definitions
from selftaught_assets.errors import UserError
from selftaught_assets.report.contents import Attack
from selftaught_assets.review.answers import StoredAnswer, append_answer, now
from selftaught_assets.storage.layout import Layout
from selftaught_assets_tests.checks.tables import write_recipe
from selftaught_assets_tests.report.tables import FIRST, SECOND, Site, write_site

SENTENCE = "5 of 30 kept pairs are too short <b>indeed</b>"


def key(site: Site, asset: str) -> dg.AssetKey:
    return site.family.key(asset)


def record(instance: dg.DagsterInstance, site: Site, asset: str, partition: str | None, **metadata: object) -> None:
    tags = with_data_version(dg.DataVersion("made"))
    made = dg.AssetMaterialization(key(site, asset), partition=partition, metadata=metadata, tags=tags)
    instance.report_runless_asset_event(made)


def run_check(instance: dg.DagsterInstance, site: Site, partition: str, **result: object) -> None:
    """A run that makes a partition of `pairs`, and in which the check `pair_validity` has this result."""
    spec = dg.AssetCheckSpec("pair_validity", asset=key(site, "pairs"), partitions_def=site.family.partitions)

    @dg.asset(key=key(site, "pairs"), partitions_def=site.family.partitions, check_specs=[spec])
    def pairs() -> dg.MaterializeResult:
        return dg.MaterializeResult(
            metadata={"seconds": 1.5}, check_results=[dg.AssetCheckResult(check_name="pair_validity", **result)]
        )

    assert dg.materialize([pairs], instance=instance, partition_key=partition).success


def materialize(instance: dg.DagsterInstance, site: Site) -> dict[str, object]:
    definitions = build_definitions([site.family.recipe], data=site.family.layout.root, executor=dg.in_process_executor)
    job = definitions.resolve_job_def(site.family.recipe.dagster_name("progress"))
    result = job.execute_in_process(instance=instance, asset_selection=[key(site, "report")])
    assert result.success
    made = newest_materialization(instance, key(site, "report"), None)
    return {name: value.value for name, value in made.metadata.items()}


def test_the_asset_writes_the_page_and_shows_key_plots_as_small_markdown_images(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        metadata = materialize(instance, site)
    page = site.family.layout.report
    assert metadata["path"] == str(page)
    assert metadata["bytes"] == page.stat().st_size
    assert metadata["judgments"] == metadata["judgments_shown"] == 2 * site.table("judgments", FIRST).height
    for name in ("learning_curve", "funnel"):
        assert len(metadata[name]) < 60_000
        image = re.fullmatch(rf"!\[{name}\]\(data:image/png;base64,(.*)\)", metadata[name]).group(1)
        _require_png(base64.b64decode(image))


def _require_png(content: bytes) -> None:
    """Fails unless the browser's kind of decoder takes the picture: every checksum and the pixels are whole."""
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.format == "PNG" and picture.size[0] > 400
    assert len(set(picture.convert("RGB").get_flattened_data())) > 10


def test_without_events_the_page_is_made_and_says_what_is_missing(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        write_report(instance, site.family, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "event log has no record of this recipe" in text
    assert "Time and cost" not in text and 'id="results"' in text


def test_before_anything_is_measured_the_page_shows_the_data(tmp_path: Path) -> None:
    site = write_site(tmp_path, measured=False)
    with dg.DagsterInstance.ephemeral() as instance:
        write_report(instance, site.family, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "`seed_evaluation` has not been materialized" in text
    assert 'id="results"' not in text and f'id="{FIRST}"' in text and f'id="{SECOND}"' in text


def test_before_the_first_stage_there_is_one_sentence(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    family = Family(recipe, Layout(tmp_path / "nothing", recipe.name))
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(UserError, match="nothing to report yet"):
        write_report(instance, family, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_latest_evaluation_of_a_check_is_shown_for_each_iteration(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run_check(
            instance, site, FIRST, passed=False, description="an old sentence", severity=dg.AssetCheckSeverity.WARN
        )
        run_check(instance, site, FIRST, passed=True, description="nothing wrong")
        run_check(instance, site, SECOND, passed=False, description=SENTENCE, severity=dg.AssetCheckSeverity.WARN)
        checks = write_report(instance, site.family, tmp_path / "report.html").contents.recorded.checks
    assert [(c.asset, c.name, c.outcome, c.sentence) for c in checks[FIRST]] == [
        ("pairs", "pair_validity", "passed", "nothing wrong")
    ]
    assert [(c.outcome, c.sentence) for c in checks[SECOND]] == [("WARN", SENTENCE)]
    assert checks[None] == []
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "too short &lt;b&gt;indeed&lt;/b&gt;" in text and "1 of 1 checks not passed" in text


def test_what_people_answered_is_in_the_report(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    asked = {"kind": "pairs", "iteration": FIRST, "label": "A", "reviewer": "ada", "time": now()}
    for id, answer in (("one", "A"), ("two", "B"), ("three", "unsure")):
        agrees = None if answer == "unsure" else answer == "A"
        append_answer(site.family.layout, StoredAnswer(**asked, id=id, answer=answer, agrees=agrees))
    with dg.DagsterInstance.ephemeral() as instance:
        written = write_report(instance, site.family, tmp_path / "page.html")
    (row,) = written.contents.reviews
    assert (row.kind, row.iteration, row.n, row.agreed, row.unsure) == ("pairs", FIRST, 2, 1, 1)
    assert "Reviews by people" in written.path.read_text(encoding="utf-8")


def test_a_failed_check_is_named_at_the_top(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run_check(instance, site, FIRST, passed=False, description=SENTENCE)
        write_report(instance, site.family, tmp_path / "report.html")
    top = (tmp_path / "report.html").read_text(encoding="utf-8").partition('id="results"')[0]
    assert f'<a href="#{FIRST}">Iteration 1</a> failed\n    pair_validity' in top


def test_times_costs_and_attacks_come_from_the_newest_materializations(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    numbers = {"success": 0.25, "success_low": 0.2, "success_high": 0.3, "to_the_loser": 0.2, "n": 40}
    attack = {f"attack/plea/{name}": value for name, value in numbers.items()}
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        record(instance, site, "judgments", FIRST, seconds=99.0)
        record(instance, site, "judgments", FIRST, seconds=4.0, completions=120, cost=0.5, currency="EUR")
        record(instance, site, "evaluation", FIRST, seconds=130.0, **attack)
        recorded = write_report(instance, site.family, tmp_path / "report.html").contents.recorded
    judged, measured = recorded.stages[FIRST]
    assert (judged.asset, judged.seconds, judged.account["completions"]) == ("judgments", 4.0, 120)
    assert (measured.asset, measured.seconds) == ("evaluation", 130.0)
    assert recorded.attacks == [Attack(FIRST, "plea", 0.25, 0.2, 0.3, 40)]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "0.50 EUR" in text and "2 min 14 s" in text


def test_automation_makes_the_report_once_something_is_measured_and_with_each_iteration_that_lands(
    tmp_path: Path,
) -> None:
    site = write_site(tmp_path)
    definitions = build_definitions([site.family.recipe], data=tmp_path / "data")
    selection = dg.AssetSelection.assets(key(site, "report"), key(site, "progress"))
    cursor, requested = None, []
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for asset, partition in (
            (None, None),
            ("seed_evaluation", None),
            ("evaluation", FIRST),
            ("evaluation", SECOND),
        ):
            if asset:
                record(instance, site, asset, partition)
            tick = dg.evaluate_automation_conditions(definitions, instance, selection, cursor=cursor)
            requested.append(tick.get_num_requested(key(site, "report")))
            if requested[-1]:
                record(instance, site, "report", None)
            cursor = dg.evaluate_automation_conditions(definitions, instance, selection, cursor=tick.cursor).cursor
    assert requested == [0, 1, 1, 1]
