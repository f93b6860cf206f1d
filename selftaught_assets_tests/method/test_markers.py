"""Decoration of markers goes with them, whatever models make of it, and what a response says stays."""

import time

import polars as pl
import pytest

from selftaught_assets.method.pairs import STRATEGY, build_pairs, split_modified_pair

TASK, ANSWER = "Name three fruits.", "apple, pear, fig"

DECORATED = [
    "**[[instruction]]**\n{}\n**[[response]]**\n{}",
    "**[[instruction]]**\r\n{}\r\n**[[response]]**\r\n{}",
    "**[[instruction]]:**\n{}\n\n**[[response]]:**\n{}",
    "**[[instruction]]**: {}\n\n**[[response]]**: {}",
    "***[[instruction]]*** {}\n***[[response]]*** {}",
    "**[[instruction]] {}**\n**[[response]] {}**",
    "**[[instruction]]\n{}**\n\n**[[response]]\n{}**",
    "`[[instruction]]`\n{}\n`[[response]]`\n{}",
    "_[[instruction]]_\n{}\n_[[response]]_\n{}",
    '"[[instruction]]"\n{}\n"[[response]]"\n{}',
    "“[[instruction]]”\n{}\n“[[response]]”\n{}",
    "<b>[[instruction]]</b>\n{}\n<b>[[response]]</b>\n{}",
    "([[instruction]])\n{}\n([[response]])\n{}",
    "[[[instruction]]]\n{}\n[[[response]]]\n{}",
    r"\[\[instruction\]\] {} \[\[response\]\] {}",
    "[[ Instruction ]]\n{}\n[[ Response ]]\n{}",
    "[[instruction]]: {}\n[[response]]: {}",
    "[[instruction]] — {}\n[[response]] — {}",
    "### [[instruction]]\n{}\n\n### [[response]]\n{}",
    "## **[[instruction]]**\n\n{}\n\n## **[[response]]**\n\n{}",
    "[[instruction]]\n-------\n{}\n\n[[response]]\n-------\n{}",
    "---\n[[instruction]]\n{}\n\n---\n\n[[response]]\n{}\n\n---",
    "- [[instruction]] {}\n- [[response]] {}",
    "* **[[instruction]]** {}\n* **[[response]]** {}",
    "1. [[instruction]]\n   {}\n2. [[response]]\n   {}",
    "(1) [[instruction]]\n{}\n(2) [[response]]\n{}",
    "**1. [[instruction]]**\n{}\n**2. [[response]]**\n{}",
    "Step 1: [[instruction]]\n{}\nStep 2: [[response]]\n{}",
    "> [[instruction]]\n> {}\n>\n> **[[response]]**\n> {}",
    "📝 [[instruction]] 📝\n{}\n✅ [[response]] ✅\n{}",
    "**Instruction: [[instruction]]**\n{}\n**Response: [[response]]**\n{}",
    "[[instruction]]\nInstruction: {}\n[[response]]\n**Response:** {}",
    "[[instruction]]\n{}\n[[/instruction]]\n[[response]]\n{}\n[[/response]]",
    "[[instruction]] {} [[/instruction]] [[response]] {} [[/response]] I hope this helps!",
    "[[instruction]]\n{}\n[[response]]\n{}\n[[end]]",
    "[[instruction]]\n{}\n[[response]]\n{}\n**[[end of response]]**",
    "[[instruction]]\n{}\n[[response]]\n{}\n</response>",
    "[[instruction]]\n{}\n[[response]]\n{}\n\n---\n*[[end]]*",
    "[[instruction]]\n{}\n[[response]]\n{}\n[end]",
    "[[instruction]].\n{}\n[[response]].\n{}",
    "```\n[[instruction]]\n{}\n[[response]]\n{}\n```",
    "Sure!\n```text\n### [[instruction]]\n{}\n\n### [[response]]\n{}\n```\nI hope this helps!",
    "```\n[[instruction]]\n{}\n```\n\n```\n[[response]]\n{}\n```",
    "[[instruction]]\n```\n{}\n```\n[[response]]\n```\n{}\n```",
    "~~~\n[[instruction]]\n{}\n[[response]]\n{}\n~~~",
    '[[instruction]]\n"{}"\n[[response]]\n"{}"',
    "[[instruction]]\n**{}**\n[[response]]\n**{}**",
    "[[instruction]]\n({})\n[[response]]\n({})",
    "[[instruction]]\n- {}\n[[response]]\n- {}",
    "[[instruction]]\n> {}\n[[response]]\n> {}",
]

ENTANGLED = [
    '{{"[[instruction]]": "{}", "[[response]]": "{}"}}',
    "| [[instruction]] | {} |\n| [[response]] | {} |",
    "<details>\n[[instruction]]\n{}\n[[response]]\n{}\n</details>",
    "[[instruction]]\n{}\n[[response]]\n**{}",
    "[[instruction]]\n{}\n[[response]]\n{}\n```",
    "[[instruction]]\n{}\n[[response]]\n{}\n[[instruction]]",
]

CONTENT = [
    "**Fruits:** apple, pear, fig",
    "- apple\n- pear\n- fig",
    "* apple\n* pear\n* fig",
    "# Fruits\n\napple",
    "```python\nprint('apple')\n```",
    "Run this:\n```\nls\n```",
    '"apple" and "pear"',
    "apple\n\n---\n\npear",
    "1. apple\n2. pear",
    "> An apple a day\n\nsaid she.",
    "[[1, 2], [3, 4]]",
    '{\n  "fruit": "apple"\n}',
    "f(a, b)",
    "if a:\n    b\nend",
    "<b>apple</b>",
    "😊",
    "---\ntitle: apple\n---",
]


def dropped(modified: str, rejected: str) -> str | None:
    row = {
        "instruction_id": "i",
        "instruction": "Name three colours.",
        "modified_instruction": modified,
        "chosen": "red, green, blue",
        "rejected": rejected,
        "chosen_finish": "stop",
        "modified_finish": "stop",
        "rejected_finish": "stop",
        "generator": "digest",
        "strategy": STRATEGY,
    }
    return build_pairs(pl.DataFrame([row]))["drop_reason"][0]


@pytest.mark.parametrize("form", DECORATED)
def test_decoration_of_a_marker_goes_with_it(form: str):
    pair = split_modified_pair(form.format(TASK, ANSWER))
    assert pair == (TASK, ANSWER)
    assert dropped(*pair) is None


@pytest.mark.parametrize("form", ENTANGLED)
def test_a_pair_whose_decoration_cannot_be_told_from_the_response_is_dropped(form: str):
    assert dropped(*split_modified_pair(form.format(TASK, ANSWER))) == "template_leftover"


@pytest.mark.parametrize("response", CONTENT)
@pytest.mark.parametrize(
    "form", ["[[instruction]]\n{}\n[[response]]\n{}", "**[[instruction]]**\n{}\n**[[response]]**\n{}"]
)
def test_markup_of_the_response_itself_stays(form: str, response: str):
    assert split_modified_pair(form.format(TASK, response)) == (TASK, response)


def test_code_blocks_inside_a_fence_around_everything_stay():
    code = "Run this:\n```\nls\n```"
    text = f"```\n[[instruction]]\n{TASK}\n[[response]]\n{code}\n```"
    assert split_modified_pair(text) == (TASK, code)


@pytest.mark.parametrize("leftover", ["[[/response]]", "[[End]]", "[[ RESPONSE ]]", "</response>", "[/instruction]"])
def test_a_closing_marker_left_in_a_text_drops_the_pair(leftover: str):
    assert dropped(TASK, f"{ANSWER} {leftover} more") == "template_leftover"


@pytest.mark.parametrize("character", ["*", "`", "[", "\n", ">", " ", "-", "<b>", "```\n", "[[end]]", "# "])
def test_long_runs_of_decoration_take_no_long_time(character: str):
    run = character * 20_000
    started = time.process_time()
    split_modified_pair(f"{run}[[instruction]]{run}{TASK}{run}[[response]]{run}{ANSWER}{run}")
    assert time.process_time() - started < 2
