import re
import shutil
from collections import Counter
from html import unescape
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from selftaught_assets.judge.export import card, code, export_judge, inline
from selftaught_assets.judge.references import Description, find_judge
from selftaught_assets.method.scoring.accuracy import with_score
from selftaught_assets.method.scoring.held_out import HELD_OUT
from selftaught_assets.storage.layout import Layout
from selftaught_assets.storage.models import reference_model
from selftaught_assets_tests.judge.conftest import Workplace

RIGHT_OF_TWENTY = {"iteration_03": 18, "seed": 12}


def _evaluation(judge: str, right: int) -> pl.DataFrame:
    """Greedy verdicts on ten pairs in both orders, the first `right` of them right."""
    rows = [
        {
            "benchmark": "tiny",
            "subset": None,
            "item_id": str(n // 2),
            "group_id": str(n // 2),
            "instruction_id": str(n // 2),
            "order": ("AB", "BA")[n % 2],
            "decoding": "greedy",
            "judge": judge,
            "label": "AB"[n % 2],
            "votes_a": int(("AB"[n % 2] == "A") == (n < right)),
            "votes_b": int(("AB"[n % 2] == "B") == (n < right)),
            "votes_tie": 0,
            "votes_invalid": 0,
            "verdict": "AB"[n % 2] if n < right else "BA"[n % 2],
        }
        for n in range(20)
    ]
    return with_score(pl.DataFrame(rows, schema_overrides={"subset": pl.String}))


def _card(workplace: Workplace, layout: Layout, what: str = "iteration_03", *, merged: bool = False) -> str:
    found = find_judge(what, workplace.recipe, workplace.layout)
    description = Description(
        judge=found.name,
        recipe="small",
        digest=found.model.digest,
        base_digest=reference_model(found.model.base).digest,
        seed=7,
        verdicts=workplace.recipe.verdicts,
        evaluation=workplace.recipe.evaluation,
    )
    return card(found, workplace.recipe, layout, description, merged=merged)


@pytest.fixture
def layout(workplace: Workplace, tmp_path: Path) -> Layout:
    """Tables of two iterations, and the evaluations of the judge and of the seed."""
    layout = Layout(tmp_path, "small")
    seed = reference_model(workplace.recipe.seed_model).digest
    judge = find_judge("iteration_03", workplace.recipe, workplace.layout).model.digest
    for iteration in ("iteration_01", "iteration_03"):
        for name, reasons in (("pairs", [None, None, "same"]), ("filtered_set", [None, None, "wrong_verdict"])):
            path = layout.table(name, iteration)
            path.parent.mkdir(parents=True, exist_ok=True)
            frame = pl.DataFrame(
                {"drop_reason": reasons, "split": ["train", "validation", "train"]},
                schema_overrides={"drop_reason": pl.String},
            )
            frame.write_parquet(path)
    path = layout.table("evaluation", "iteration_03")
    path.parent.mkdir(parents=True, exist_ok=True)
    _evaluation(judge, RIGHT_OF_TWENTY["iteration_03"]).write_parquet(path)
    _evaluation(seed, RIGHT_OF_TWENTY["seed"]).write_parquet(layout.table("seed_evaluation"))
    return layout


def test_the_card_states_data_iterations_accuracy_licence_and_prompt(workplace: Workplace, layout: Layout) -> None:
    said = _card(workplace, layout)
    heading = yaml.safe_load(said.split("---\n")[1])
    assert (heading["license"], heading["library_name"]) == ("apache-2.0", "peft")
    assert "| iteration_01 | 2 | 1 | 1 |" in said
    assert "| iteration_03 | 2 | 1 | 1 |" in said
    assert "pool.jsonl" in said
    assert (
        "| tiny | 20 | 10 | 90.0% | 70.0% to 100.0% | 90.0% | 90.0% | 90.0% | 0.0% | +30.0 (+0.0 to +60.0) | 0.25 |\n"
    ) in said
    assert workplace.recipe.templates.judge.strip() in said
    assert "2 steps on 1,368 judgments, mean loss at the end 0.250, 0.375 on held-out ones" in said
    assert "## Limits" in said
    assert str(workplace.data) not in said


def test_verdicts_on_held_out_synthetic_pairs_are_no_benchmark(workplace: Workplace, layout: Layout) -> None:
    before, path = _card(workplace, layout), layout.table("evaluation", "iteration_03")
    verdicts = pl.read_parquet(path)
    pl.concat([verdicts, verdicts.with_columns(benchmark=pl.lit(HELD_OUT))]).write_parquet(path)
    assert _card(workplace, layout) == before


def test_the_seed_is_not_compared_with_itself(workplace: Workplace, layout: Layout) -> None:
    said = _card(workplace, layout, "seed", merged=True)
    assert "| tiny | 20 | 10 | 60.0% |" in said
    assert "its own card says what it was trained on" in said


def test_without_an_evaluation_the_card_says_so_and_has_no_number(workplace: Workplace, tmp_path: Path) -> None:
    said = _card(workplace, Layout(tmp_path, "small"))
    assert "Not evaluated: no evaluation of these weights is recorded." in said
    assert "%" not in said.partition("## Accuracy")[2].partition("## How")[0]


def test_figures_of_other_weights_are_not_taken(workplace: Workplace, layout: Layout) -> None:
    _evaluation("0" * 64, 20).write_parquet(layout.table("evaluation", "iteration_03"))
    assert "Not evaluated" in _card(workplace, layout)


def test_a_prompt_cannot_break_out_of_its_block(workplace: Workplace, layout: Layout, tmp_path: Path) -> None:
    said = _card(workplace, layout)
    assert "\n```\nJudge: {{ instruction }}" in said
    from selftaught_assets.judge.export import _longest_run_of_backticks

    assert _longest_run_of_backticks("a ``` b ````` c ` d") == 5


def test_a_licence_that_nobody_stated_is_not_invented(workplace: Workplace, layout: Layout, tmp_path: Path) -> None:
    base = shutil.copytree(workplace.recipe.seed_model, tmp_path / "base")
    (base / "README.md").write_text("# A model\n")
    folder = tmp_path / "out"
    export_judge(str(base), folder, workplace.recipe, layout, merge=False)
    said = (folder / "README.md").read_text()
    assert "| licence | not stated by the base model's card |" in said
    assert "license" not in said.split("---\n")[1]


HOSTILE = (
    "mit | <script>alert(1)</script> [click](javascript:alert(1)) ![x](//evil.example/x.png) `a` ``b`` **c** ~~d~~ "
    "&lt; \\ $x$ @all #1\n---\n# Owned\n| a | b |\n|---|---|\n"
)
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def _tags(html: str) -> Counter[str]:
    return Counter(re.findall(r"<(/?[a-z0-9]+)", html))


def test_what_others_chose_marks_up_nothing(workplace: Workplace, layout: Layout) -> None:
    said = {}
    for kind, licence, name in (("plain", "other", "plain"), ("hostile", HOSTILE, HOSTILE.replace("/", ""))):
        base = shutil.copytree(workplace.recipe.seed_model, layout.root / "bases" / name)
        (base / "README.md").write_text(f"---\n{yaml.safe_dump({'license': licence})}---\n", encoding="utf-8")
        export_judge(str(base), layout.root / kind, workplace.recipe, layout, merge=False)
        said[kind] = (layout.root / kind / "README.md").read_text(encoding="utf-8")
    heading, body = said["hostile"].removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(heading) == yaml.safe_load(said["plain"].split("---\n")[1]) | {
        "license_name": " ".join(HOSTILE.split())
    }
    html = MARKDOWN.render(body)
    assert _tags(html) == _tags(MARKDOWN.render(said["plain"].removeprefix("---\n").split("\n---\n", 1)[1]))
    shown = unescape(re.sub(r"<[^>]*>", "", html))
    assert " ".join(HOSTILE.split()) in shown
    assert f"{' '.join(HOSTILE.replace('/', '').split())} of the recipe" in shown


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_text_reads_as_it_is_within_a_line(text: str) -> None:
    def line(text: str) -> str:
        return "".join(character if character.isprintable() else "\ufffd" for character in " ".join(text.split()))

    html = MARKDOWN.render(f"| a |\n|---|\n| x {inline(text)} x |\n\n# x {inline(text)} x\n\ny {code('z' + text)} y\n")
    found = re.search(r"<td>(.*)</td>.*<h1>(.*)</h1>\n<p>y <code>(.*)</code> y</p>", html, re.DOTALL)
    assert found, html
    for shown, expected in zip(
        found.groups(), (f"x {line(text)} x", f"x {line(text)} x", line(f"z{text}")), strict=True
    ):
        assert "<" not in shown
        assert " ".join(unescape(shown).split()) == " ".join(expected.split())
