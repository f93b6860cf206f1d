import base64
import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from selftaught_assets.errors import UserError
from selftaught_assets.report.browser import KEPT, WAITING, pack, read_rows
from selftaught_assets.report.reading import read_iterations
from selftaught_assets_tests.report.tables import FIRST, HOSTILE, SECOND, Site, write_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return write_site(tmp_path_factory.mktemp("site"))


def test_every_judgment_has_its_pair_its_line_of_the_pool_and_its_fate(site: Site) -> None:
    rows = read_rows(site.family.layout, site.family.recipe)
    tables = [site.table("judgments", key) for key in (FIRST, SECOND)]
    assert rows.total == rows.judgments.height == sum(table.height for table in tables)
    first = rows.judgments.filter(pl.col("iteration") == FIRST)
    reasons = site.table("filtered_set", FIRST)["drop_reason"].fill_null(KEPT).value_counts(sort=True)
    assert dict(first["outcome"].value_counts().iter_rows()) == dict(reasons.iter_rows())
    assert first.filter(pl.col("outcome") == KEPT)["split"].null_count() == 0
    assert (
        first.filter(pl.col("outcome") != KEPT)["example_id"].null_count()
        == first.filter(pl.col("outcome") != KEPT).height
    )
    assert rows.judgments.filter(pl.col("iteration") == SECOND)["outcome"].unique().to_list() == [WAITING]
    pool = site.table("instruction_pool").filter(pl.col("drop_reason").is_null())
    pool = pool.select("instruction_id", pl.col("line").alias("expected"))
    assert rows.pairs.join(pool, on="instruction_id").select((pl.col("line") == pl.col("expected")).all()).item()


def test_packed_rows_come_out_as_they_went_in(site: Site) -> None:
    rows = read_rows(site.family.layout, site.family.recipe)
    content = json.loads(gzip.decompress(base64.b64decode(packed := pack(rows))))
    assert set(packed) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert content["rows"]["judgment"] == rows.judgments["judgment"].to_list()
    outcomes = [content["names"]["outcome"][number] for number in content["rows"]["outcome"]]
    assert outcomes == rows.judgments["outcome"].to_list()
    pair = content["pairs"]["pair_id"].index(site.pair_id)
    assert content["pairs"]["chosen"][pair] == HOSTILE
    assert content["names"]["category"][content["pairs"]["category"][pair]] == HOSTILE
    assert len(content["pairs"]["pair_id"]) == len(set(content["pairs"]["pair_id"])) < len(content["rows"]["pair"])


def test_beyond_the_limit_whole_pairs_are_drawn_by_seed(site: Site) -> None:
    layout, recipe = site.family.layout, site.family.recipe
    whole, some = read_rows(layout, recipe), read_rows(layout, recipe, limit=50)
    assert 40 < some.judgments.height <= 50 < some.total == whole.total
    drawn = some.pairs["pair_id"].implode()
    of_drawn = pl.concat([site.table("judgments", key) for key in (FIRST, SECOND)]).filter(
        pl.col("pair_id").is_in(drawn)
    )
    assert sorted(some.judgments["judgment_id"]) == sorted(of_drawn["judgment_id"])
    assert read_rows(layout, recipe, limit=50).pairs.equals(some.pairs)
    other = read_rows(layout, recipe.model_copy(update={"seed": 2}), limit=50)
    assert set(other.pairs["pair_id"]) != set(some.pairs["pair_id"])


def test_every_row_of_the_funnel_is_left_or_lost_for_a_reason(site: Site) -> None:
    first, second = read_iterations(site.family.layout, site.family.recipe)
    names = ["in the pool", "selected", "pairs written", "valid pairs", "with a right judgment", "examples"]
    assert [step.name for step in first.funnel] == names
    assert [step.name for step in second.funnel] == names[:-1]
    for before, after in zip(first.funnel, first.funnel[1:], strict=False):
        assert before.rows == after.rows + sum(after.lost.values()), after.name
    assert first.judged[0].rows == first.judged[1].rows + sum(first.judged[1].lost.values())
    assert (first.judge_digest, second.judge_digest) == ("digest", "later")


def test_damaged_table_is_one_sentence(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    site.family.layout.table("judgments", FIRST).write_bytes(b"no table")
    for read in (read_iterations, read_rows):
        with pytest.raises(UserError, match="cannot be read"):
            read(site.family.layout, site.family.recipe)


def test_before_the_first_judgment_there_are_no_rows(tmp_path: Path) -> None:
    site = write_site(tmp_path)
    for key in (FIRST, SECOND):
        site.family.layout.table("judgments", key).unlink()
    rows = read_rows(site.family.layout, site.family.recipe)
    assert (rows.total, rows.judgments.height) == (0, 0)
    assert json.loads(gzip.decompress(base64.b64decode(pack(rows))))["rows"]["judgment"] == []
