r"""The prompts of the method: Jinja2 templates that a recipe may replace, with texts that cannot imitate what separates
them.

What separates the texts in a prompt from each other, and how a text is kept from imitating it.

A response that holds `</response_a>` could end its own block and go on as if it were the prompt: praise itself, stand
in for the other response, or close the task. The delimiters of a template are

- its tags, `<response_a>` and `</response_a>`, wherever they stand, whatever their case;
- the line before an inserted text and the line after it, such as `A:` or `[The End of Assistant A's Answer]`, where
they open a line.

A backslash makes them visibly not what they look like: `<\/response_a>`, `\A:`. Nothing else of the text is changed.
What delimits two texts within one line of the template is not guarded: use tags there.

Instructions and responses are data: they are inserted unescaped and never rendered again, so a `{{` in a response
stays two braces. Only what the template itself uses to delimit them is marked with a backslash where it occurs in
them (`delimiters`). Templates run in Jinja2's sandbox, since a recipe may come from others, with limits to time, memory
and length.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import jinja2
from jinja2 import meta

from selftaught_assets.method.limits import MOST_CHARACTERS, BoundedSandbox, limited

_HOLE = "\0"
_TAG_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9_.-]*+)")
_HOLE_OPENS_LINE = re.compile(rf"^[ \t]*+{_HOLE}", re.MULTILINE)
_TEXT_START = r"\A|"
_LINE_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"


class Delimiters(NamedTuple):
    """The delimiters of one template."""

    pattern: re.Pattern[str] | None
    """Matches right before what needs a backslash, or the `<` after which one is put; None if there is nothing."""

    @classmethod
    def of(cls, tokens: Iterable[tuple[int, str, str]]) -> "Delimiters":
        """Finds the delimiters of a template.

        Args:
            tokens: of `jinja2.Environment.lex`: line number, kind and text.
        """
        pieces = {"data": lambda text: text, "variable_begin": lambda _: _HOLE}
        skeleton = "".join(pieces[kind](text) for _, kind, text in tokens if kind in pieces)
        tags = sorted({name.lower() for name in _TAG_NAME.findall(skeleton)})
        starts = []
        if tags:
            starts.append(rf"<(?=(?:\s*+/\s*+)?+(?i:{'|'.join(map(re.escape, tags))})(?![\w.-]))")
        lines = _lines_around_holes(skeleton)
        if lines:
            line_start = rf"(?:{_TEXT_START if _HOLE_OPENS_LINE.search(skeleton) else ''}(?<=[{_LINE_BREAKS}]))"
            starts.append(rf"{line_start}[ \t]*+(?={'|'.join(map(_flexible, lines))})")
        return cls(re.compile("|".join(starts)) if starts else None)

    def neutralised(self, text: str) -> str:
        """The text with a backslash in or before each delimiter that it holds; other texts are returned unchanged."""
        return self.pattern.sub(lambda found: f"{found[0]}\\", text) if self.pattern else text


def _lines_around_holes(skeleton: str) -> list[str]:
    """What stands before an inserted text on its line, or else on the last line before it; and the line after it."""
    lines = [line.strip() for line in skeleton.split("\n") if line.strip()]
    found = set()
    for index, line in enumerate(lines):
        before, hole, _ = line.partition(_HOLE)
        if not hole:
            continue
        found.add(before if before else lines[index - 1] if index else "")
        after = line.rpartition(_HOLE)[2]
        if not after and index + 1 < len(lines):
            found.add(lines[index + 1])
    marks = {line.partition(_HOLE)[0].strip() for line in found}
    return sorted(mark for mark in marks if mark and not _TAG_NAME.match(mark))


def _flexible(line: str) -> str:
    return r"\s++".join(map(re.escape, line.split()))


Messages = list[dict[str, str]]
"""A conversation: {"role", "content"} for each turn."""


class PromptTemplateError(ValueError):
    """A template cannot be used; the sentence says which, why, and often what to do."""


class PromptTemplates(NamedTuple):
    """Jinja2 source of each template (paper section 3; the wording is ours)."""

    response: str
    """Variable `instruction`: asks for the baseline response."""
    modified_instruction: str
    """Variables `instruction` and `response` (optional): asks for the modified instruction alone."""
    modified_pair: str
    """Variables `instruction` and `response`: asks for the modified instruction and its response in one completion."""
    judge: str
    """Variables `instruction`, `response_a`, `response_b`, `reference` (optional; null where a benchmark has none) and
    `ties` (optional, true where a tie may be given): asks for a chain of thought that ends in a verdict."""
    score: str | None = None
    """Variables `instruction`, `response` and `reference` (optional, as above): asks for a chain of thought that ends
    in a rating from 1 to 10. None in a recipe that compares pairs and has no such file."""


TEMPLATE_NAMES = PromptTemplates._fields

_NEEDED = PromptTemplates(
    response="instruction",
    modified_instruction="instruction",
    modified_pair="instruction response",
    judge="instruction response_a response_b",
    score="instruction response",
)._asdict()
_OFFERED = _NEEDED | {
    "modified_instruction": "instruction response",
    "judge": f"{_NEEDED['judge']} reference ties",
    "score": f"{_NEEDED['score']} reference",
}


def response_messages(templates: PromptTemplates, instruction: str) -> Messages:
    """Asks for a response to an instruction, original or modified (paper section 3, "Response Pair Construction")."""
    return _message("response", templates.response, instruction=instruction)


def modified_instruction_messages(templates: PromptTemplates, instruction: str, response: str) -> Messages:
    """Asks for the modified instruction alone: first half of the two-call form, better for small models.

    The paper ("Response Pair Construction") asks for the modified instruction and its response together; see
    `modified_pair_messages`.
    """
    return _message("modified_instruction", templates.modified_instruction, instruction=instruction, response=response)


def modified_pair_messages(templates: PromptTemplates, instruction: str, response: str) -> Messages:
    """Asks for the modified instruction and its response in one completion, as the paper does.

    Paper section 3, "Response Pair Construction": the call is conditioned on the instruction and its baseline
    response. `pairs.split_modified_pair` reads the answer.
    """
    return _message("modified_pair", templates.modified_pair, instruction=instruction, response=response)


def judge_messages(
    templates: PromptTemplates,
    instruction: str,
    response_a: str,
    response_b: str,
    reference: str | None = None,
    *,
    ties: bool = False,
) -> Messages:
    """Asks which response is better (paper section 3, "Judgment Annotation"). `verdicts` reads the answer.

    Args:
        reference: an answer known to be good, where a benchmark has one; a template need not use it.
        ties: whether a tie may be given.
    """
    texts = {"instruction": instruction, "response_a": response_a, "response_b": response_b, "reference": reference}
    return _message("judge", templates.judge, **texts, ties=ties)


def score_messages(
    templates: PromptTemplates, instruction: str, response: str, reference: str | None = None
) -> Messages:
    """Asks how good one response is, from 1 to 10 (not in the paper, which compares pairs). `ratings` reads the answer.

    Raises:
        PromptTemplateError: there is no template `score`, or it cannot be rendered.
    """
    if templates.score is None:
        raise PromptTemplateError("There is no prompt template `score`: add score.jinja to the folder of prompts.")
    return _message("score", templates.score, instruction=instruction, response=response, reference=reference)


def require_templates(templates: PromptTemplates) -> None:
    """Raises PromptTemplateError, with a sentence that says what to fix, for the first template that cannot be used."""
    for name, source in templates._asdict().items():
        if source is not None:
            _compile(name, source)


class _Template(NamedTuple):
    compiled: jinja2.Template
    delimiters: Delimiters


def _message(name: str, source: str, **variables: object) -> Messages:
    template = _compile(name, source)
    safe = {
        variable: template.delimiters.neutralised(value) if isinstance(value, str) else value
        for variable, value in variables.items()
    }
    try:
        content = limited(template.compiled.render, safe)
    except _FAULTS as error:
        raise PromptTemplateError(f"The prompt template `{name}` cannot be rendered: {_said(error)}.") from None
    if len(content) > MOST_CHARACTERS:
        raise PromptTemplateError(
            f"The prompt template `{name}` made a prompt of {len(content):,} characters: at most {MOST_CHARACTERS:,} "
            "are sent."
        )
    return [{"role": "user", "content": content}]


_FAULTS = (jinja2.TemplateError, ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What a template may raise that is wrong or without end."""


def _said(error: BaseException) -> str:
    return str(error).rstrip(".") or type(error).__name__


@lru_cache(maxsize=64)
def _compile(name: str, source: str) -> _Template:
    environment = BoundedSandbox(undefined=jinja2.StrictUndefined)
    try:
        used = meta.find_undeclared_variables(environment.parse(source))
        template = limited(environment.from_string, source)
    except jinja2.TemplateSyntaxError as error:
        raise PromptTemplateError(
            f"The prompt template `{name}` is broken at line {error.lineno}: {error.message}."
        ) from None
    except (SyntaxError, *_FAULTS) as error:  # Of the Python that Jinja2 makes of it, where it is nested too deeply.
        raise PromptTemplateError(f"The prompt template `{name}` cannot be read: {_said(error)}.") from None
    for variable in _NEEDED[name].split():
        if variable not in used:
            raise PromptTemplateError(f"The prompt template `{name}` does not use `{{{{ {variable} }}}}`; add it.")
    unknown = sorted(used - set(_OFFERED[name].split()))
    if unknown:
        raise PromptTemplateError(
            f"The prompt template `{name}` uses `{{{{ {unknown[0]} }}}}`, which it is not given; "
            f"it is given {', '.join(_OFFERED[name].split())}."
        )
    return _Template(template, Delimiters.of(environment.lex(source)))
