import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.assets.family import account
from selftaught_assets.method.identity import row_id
from selftaught_assets.method.training_set import balance_labels
from selftaught_assets_tests.method.tables import kept, seeds

SCHEMA = {"judgment_id": pl.String, "label": pl.String, "split": pl.String, "drop_reason": pl.String}


def examples(rows: list[tuple[str | None, str, str | None]]) -> pl.DataFrame:
    return pl.DataFrame([(row_id("judgment", n), *row) for n, row in enumerate(rows)], schema=SCHEMA, orient="row")


usable = st.tuples(st.sampled_from("AAB"), st.sampled_from(["train", "validation"]), st.none())
dropped = st.tuples(st.sampled_from(["A", "B", None]), st.sampled_from(["train", "validation"]), st.just("not_drawn"))
example_tables = st.lists(usable | dropped, max_size=40).map(examples)


def count(frame: pl.DataFrame, label: str, split: str) -> int:
    return kept(frame).filter((pl.col("label") == label) & (pl.col("split") == split)).height


@given(table=example_tables, seed=seeds)
def test_both_labels_are_exactly_equal_in_each_split_and_no_other_way_drops_fewer(table, seed):
    balanced = balance_labels(table, seed=seed)
    for split in ("train", "validation"):
        fewest = min(count(table, "A", split), count(table, "B", split))
        assert count(balanced, "A", split) == count(balanced, "B", split) == fewest


@given(table=example_tables, seed=seeds)
def test_only_kept_rows_of_the_more_frequent_label_are_touched(table, seed):
    balanced = balance_labels(table, seed=seed)
    account(balanced, table.height)
    cut = balanced.filter(pl.col("drop_reason") == "balance")
    assert set(cut["judgment_id"]) <= set(kept(table)["judgment_id"])
    assert cut.group_by("split").agg(pl.col("label").n_unique())["label"].to_list() == [1] * cut["split"].n_unique()
    untouched = balanced.filter(pl.col("drop_reason").fill_null("") != "balance")
    assert untouched.equals(table.filter(pl.col("judgment_id").is_in(untouched["judgment_id"].to_list())))


@given(table=example_tables, seed=seeds, shuffle=st.randoms())
def test_the_cut_belongs_to_ids_and_not_to_the_order_of_rows(table, seed, shuffle):
    rows = list(range(table.height))
    shuffle.shuffle(rows)
    expected = balance_labels(table, seed=seed).sort("judgment_id")
    assert balance_labels(table[rows], seed=seed).sort("judgment_id").equals(expected)


@given(table=example_tables, seed=seeds)
def test_exchanging_the_labels_cuts_the_same_rows(table, seed):
    exchanged = table.with_columns(pl.col("label").replace({"A": "B", "B": "A"}))
    assert balance_labels(exchanged, seed=seed)["drop_reason"].equals(balance_labels(table, seed=seed)["drop_reason"])


@given(table=example_tables, seed=seeds)
def test_balancing_twice_changes_nothing(table, seed):
    balanced = balance_labels(table, seed=seed)
    assert balance_labels(balanced, seed=seed).equals(balanced)


def test_a_label_that_is_missing_leaves_nothing():
    assert kept(balance_labels(examples([("A", "train", None)] * 3), seed=1)).height == 0


def test_every_row_of_the_more_frequent_label_is_cut_equally_often():
    table = examples([(label, f"split {n}", None) for n in range(1200) for label in "AAAAB"]).with_row_index("row")
    survivors = kept(balance_labels(table, seed=1)).filter(pl.col("label") == "A")
    assert survivors.height == 1200
    counts = survivors.group_by(pl.col("row") % 5).len()["len"]
    statistic = sum((value - 300) ** 2 / 300 for value in counts)
    assert statistic < 16.3, "chi-square with 3 degrees of freedom, p = 0.001"
