"""The prompts of the method, rendered from Jinja2 templates that a recipe may replace.

Belongs here: which templates there are, which variables each gets, and how a message is made of them. Not here: the
texts themselves (selftaught_assets/prompts, or the recipe's folder) and the model's chat template (engines).

Instructions and responses are data: they are inserted unescaped and never rendered again, so a `{{` in a response
stays two braces. Only what the template itself uses to delimit them is marked with a backslash where it occurs in them
(`delimiters`). Templates run in Jinja2's sandbox, since a recipe may come from somebody else.
"""

from functools import lru_cache
from typing import NamedTuple

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from selftaught_assets.method.delimiters import Delimiters

Messages = list[dict[str, str]]
"""A conversation: {"role", "content"} for each turn."""


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
        ValueError: there is no template `score`, or it cannot be rendered.
    """
    if templates.score is None:
        raise ValueError("There is no prompt template `score`: add score.jinja to the folder of prompts.")
    return _message("score", templates.score, instruction=instruction, response=response, reference=reference)


def require_templates(templates: PromptTemplates) -> None:
    """Raises ValueError, with the sentence that says what to mend, for the first template that cannot be used."""
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
        content = template.compiled.render(safe)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"The prompt template `{name}` cannot be rendered: {error}.") from None
    return [{"role": "user", "content": content}]


@lru_cache(maxsize=64)
def _compile(name: str, source: str) -> _Template:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
    try:
        used = meta.find_undeclared_variables(environment.parse(source))
        template = environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"The prompt template `{name}` is broken at line {error.lineno}: {error.message}.") from None
    for variable in _NEEDED[name].split():
        if variable not in used:
            raise ValueError(f"The prompt template `{name}` does not use `{{{{ {variable} }}}}`; add it.")
    unknown = sorted(used - set(_OFFERED[name].split()))
    if unknown:
        raise ValueError(
            f"The prompt template `{name}` uses `{{{{ {unknown[0]} }}}}`, which it is not given; "
            f"it is given {', '.join(_OFFERED[name].split())}."
        )
    return _Template(template, Delimiters.of(environment.lex(source)))
