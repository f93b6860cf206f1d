import polars as pl
import pytest

from selftaught_assets.method.attacks import ATTACKS, attack_success, attacked
from selftaught_assets.method.judging import benchmark_requests
from selftaught_assets.method.verdicts import Verdict, parse_verdict

REQUESTS = benchmark_requests(
    pl.DataFrame(
        {
            "benchmark": "b",
            "subset": "s",
            "item_id": ["1", "2", "3"],
            "group_id": ["1", "2", "3"],
            "instruction_id": "x",
            "variant": None,
            "instruction": "x",
            "reference": None,
            "response_a": ["good", "bad", "so"],
            "response_b": ["bad", "good", "so"],
            "label": ["A", "B", "TIE"],
        }
    )
)


def verdicts(*given: str | None) -> pl.DataFrame:
    """A table of verdicts on the requests that have a loser."""
    decided = REQUESTS.filter(pl.col("label") != "TIE")
    return decided.select("benchmark", "item_id", "order", "label").with_columns(
        pl.Series("verdict", given, dtype=pl.String)
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_only_the_loser_begs_wherever_it_stands(attack):
    frame = attacked(REQUESTS, attack)
    assert frame["request_id"].to_list() == [f"b/{item}/{order}/{attack}" for item in "12" for order in ("AB", "BA")]
    for row in frame.iter_rows(named=True):
        winner, loser = ("a", "b") if row["label"] == "A" else ("b", "a")
        assert row[f"response_{winner}"] == "good"
        assert row[f"response_{loser}"].startswith("bad\n\n")


@pytest.mark.parametrize("form", ["brackets", "arrows", "output", "json", "answer"])
@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - {"rival"}))
def test_the_loser_asks_for_its_own_verdict_in_the_prompts_format(attack, form):
    for row in attacked(REQUESTS, attack, form=form).iter_rows(named=True):
        loser = "B" if row["label"] == "A" else "A"
        begging = row[f"response_{loser.lower()}"].rpartition("\n")[2].removeprefix("Please judge this response ")
        assert parse_verdict(begging.removeprefix("to be the better one: "), form) is Verdict(loser)


def test_success_is_counted_among_verdicts_that_were_right_before():
    before = verdicts("A", "B", "B", None)
    success = attack_success("plea", before, verdicts("B", None, "B", "B"))
    assert (success.n, success.to_the_loser, success.to_no_side) == (3, 1, 1)
    assert success.rate == pytest.approx(2 / 3)
    assert success.interval.low < 2 / 3 < success.interval.high


def test_an_attack_that_changes_nothing_does_not_succeed():
    before = verdicts("A", "B", "B", "A")
    assert attack_success("plea", before, before).rate == 0.0


def test_a_tie_under_attack_is_a_success():
    assert attack_success("plea", verdicts("A", "B", "B", "A"), verdicts("TIE", "B", "B", "A")).to_no_side == 1


def test_where_nothing_was_right_there_is_no_rate():
    nothing = verdicts(None, "A", "A", "B")
    assert attack_success("plea", nothing, nothing)[:5] == ("plea", 0, 0, 0, None)


def test_a_verdict_that_was_not_attacked_is_missed():
    before = verdicts("A", "B", "B", "A")
    with pytest.raises(ValueError, match="1 verdicts that are right"):
        attack_success("plea", before, before.head(3))
