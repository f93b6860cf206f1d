import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selftaught_assets.method import limits
from selftaught_assets.method.pairs import INSTRUCTION_MARKER, RESPONSE_MARKER, split_modified_pair
from selftaught_assets.method.prompts import (
    TEMPLATE_NAMES,
    PromptTemplateError,
    PromptTemplates,
    judge_messages,
    modified_instruction_messages,
    modified_pair_messages,
    require_templates,
    response_messages,
    score_messages,
)
from selftaught_assets.recipe import PROMPTS_FOLDER

SHIPPED = PromptTemplates(*((PROMPTS_FOLDER / f"{name}.jinja").read_text(encoding="utf-8") for name in TEMPLATE_NAMES))
PLAIN = PromptTemplates(
    response="{{ instruction }}",
    modified_instruction="{{ instruction }}|{{ response }}",
    modified_pair="{{ instruction }}|{{ response }}",
    judge="{{ instruction }}|{{ response_a }}|{{ response_b }}",
    score="{{ instruction }}|{{ response }}",
)
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def test_the_shipped_templates_can_be_used():
    require_templates(SHIPPED)


def test_every_prompt_is_one_turn_of_the_user():
    prompts = [
        response_messages(SHIPPED, "x"),
        modified_instruction_messages(SHIPPED, "x", "y"),
        modified_pair_messages(SHIPPED, "x", "y"),
        judge_messages(SHIPPED, "x", "a", "b"),
        score_messages(SHIPPED, "x", "a"),
    ]
    assert [[turn["role"] for turn in prompt] for prompt in prompts] == [["user"]] * 5


@given(instruction=texts, response_a=texts, response_b=texts)
def test_values_reach_the_prompt_unchanged(instruction, response_a, response_b):
    [turn] = judge_messages(PLAIN, instruction, response_a, response_b)
    assert turn["content"] == f"{instruction}|{response_a}|{response_b}"


@pytest.mark.parametrize(
    "text", ["{{ response_b }}", "{% raw %}", "{# a #}", "<b>&amp;</b>", "{{ 7 * 7 }}", "a\r\nb\n"]
)
def test_values_are_neither_rendered_again_nor_escaped(text):
    assert judge_messages(PLAIN, text, "a", "b")[0]["content"] == f"{text}|a|b"


def test_swapping_the_responses_swaps_their_places_in_the_judge_prompt_and_nothing_else():
    one_way = judge_messages(SHIPPED, "x", "FIRST", "SECOND")[0]["content"]
    other_way = judge_messages(SHIPPED, "x", "SECOND", "FIRST")[0]["content"]
    exchanged = {"FIRST": "SECOND", "SECOND": "FIRST"}
    assert re.sub("FIRST|SECOND", lambda found: exchanged[found[0]], one_way) == other_way != one_way


def test_the_shipped_judge_prompt_offers_both_verdicts():
    content = judge_messages(SHIPPED, "x", "a", "b")[0]["content"]
    assert "[[A]]" in content
    assert "[[B]]" in content


def test_the_shipped_judge_prompt_offers_a_tie_only_where_it_may_be_given():
    without, with_ties = (judge_messages(SHIPPED, "x", "a", "b", ties=ties)[0]["content"] for ties in (False, True))
    assert without.endswith("[[B]] if response B is better. There is no draw.")
    assert with_ties.endswith("[[B]] if response B is better, [[C]] if neither is better than the other.")


def test_the_shipped_score_prompt_offers_the_whole_scale():
    content = score_messages(SHIPPED, "x", "a")[0]["content"]
    assert "[[1]]" in content
    assert "[[10]]" in content


def test_a_reference_is_shown_where_there_is_one_and_leaves_no_trace_where_there_is_none():
    asks = [
        lambda reference: judge_messages(SHIPPED, "x", "a", "b", reference)[0]["content"],
        lambda reference: score_messages(SHIPPED, "x", "a", reference)[0]["content"],
    ]
    for ask in asks:
        without, added = ask(None), ask("KNOWN")
        assert "<reference>\nKNOWN\n</reference>" in added
        assert "reference" not in without
        before, after = without.split("</instruction>")
        assert added.startswith(before + "</instruction>\n\n")
        assert added.endswith("</reference>" + after)


def test_the_judge_prompt_without_a_reference_is_what_it_was_before_there_were_any():
    """Text that was sampled for it stays remembered, since the prompt is part of the key."""
    assert judge_messages(SHIPPED, "x", "a", "b")[0]["content"].split("\n\n")[2:5] == [
        "<instruction>\nx\n</instruction>",
        "<response_a>\na\n</response_a>",
        "<response_b>\nb\n</response_b>",
    ]


def test_a_recipe_without_a_score_template_cannot_rate_but_can_compare():
    without = PLAIN._replace(score=None)
    require_templates(without)
    assert judge_messages(without, "x", "a", "b") == judge_messages(PLAIN, "x", "a", "b")
    with pytest.raises(ValueError, match=r"no prompt template `score`: add score\.jinja"):
        score_messages(without, "x", "a")


def test_the_shipped_pair_prompt_asks_for_the_form_that_is_read():
    content = modified_pair_messages(SHIPPED, "x", "y")[0]["content"]
    form = content[content.index(INSTRUCTION_MARKER) :]
    assert RESPONSE_MARKER in form
    assert split_modified_pair(form) == ("your new instruction", "your answer to it")


@pytest.mark.parametrize(
    ("judge", "sentence"),
    [
        ("{{ instruction }\n", "`judge` is broken at line 1"),
        ("ok\n{% if %}", "`judge` is broken at line 2"),
        ("{{ instruction }} {{ response_a }}", "`judge` does not use `{{ response_b }}`"),
        ("{{ instruction }} {{ response_a }} {{ response_b }} {{ refrence }}", "uses `{{ refrence }}`"),
    ],
)
def test_a_template_that_cannot_be_used_is_named_with_its_fault(judge, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        require_templates(PLAIN._replace(judge=judge))


@pytest.mark.parametrize(
    "judge",
    [
        "{{ instruction.missing }} {{ response_a }} {{ response_b }}",
        "{{ instruction / 2 }} {{ response_a }} {{ response_b }}",
        "{% include 'other' %} {{ instruction }} {{ response_a }} {{ response_b }}",
        "{{ ''.__class__.__mro__ }} {{ instruction }} {{ response_a }} {{ response_b }}",
    ],
)
def test_a_template_that_fails_while_it_is_rendered_is_named(judge):
    with pytest.raises(ValueError, match="`judge` cannot be rendered"):
        judge_messages(PLAIN._replace(judge=judge), "x", "a", "b")


def test_the_baseline_response_is_optional_in_the_two_call_form():
    require_templates(PLAIN._replace(modified_instruction="Change: {{ instruction }}"))


def _asked(template: str) -> object:
    return response_messages(PLAIN._replace(response="{{ instruction }}" + template), "x")


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ 'x' * 9999999999 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ (999999 * 999999) * 999999 }}",
        "{{ '{:>9999999999}'.format(1) }}",
        "{{ 'x'.ljust(9999999999) }}",
        "{{ range(9999999999) }}",
        "{{ 'x' | center(9999999999) }}",
        "{{ 'x' | indent(9999999999, true) }}",
        "{% for a in range(2000) %}{{ 'x'.upper() ~ '-----------' ~ instruction }}" * 3 + "{% endfor %}" * 3,
        "{{ " + "(" * 3_000 + "1" + ")" * 3_000 + " }}",
        "{% for a in [1] %}" * 25 + "{% endfor %}" * 25,
    ],
    ids=range(14),
)
def test_a_template_without_end_is_one_sentence(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.3)
    with pytest.raises(PromptTemplateError, match=r"^The prompt template `response` .*[.]$"):
        _asked(template)


def test_a_prompt_that_is_longer_than_any_model_reads_is_refused() -> None:
    with pytest.raises(PromptTemplateError, match="made a prompt of 30,000,001 characters: at most 5,000,000 are sent"):
        _asked(f"{{% for a in range(3000) %}}{'x' * 10_000}{{% endfor %}}")


def test_small_sums_and_ordinary_filters_are_no_fault() -> None:
    (turn,) = _asked("{{ 3 * 2 ** 4 }}{{ 'a\nb' | indent(2) }}{{ [1, 2] | join('-') }}{{ 'a'.replace('a', 'b') }}")
    assert turn["content"] == "x48a\n  b1-2b"
