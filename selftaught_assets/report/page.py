"""The page: one file that works from a disk, loads nothing from other hosts, and shows every character.

A judgment may hold anything: an override that turns "[[A]]" around, a zero-width space inside a word, a line of
invisible tag characters. The page shows text as it was, so these are shown as what they are. The script of the page
gets `PATTERN` and `NAMES` from here, so that there is one rule.

What models and users wrote reaches the page in three ways, and is text in each: the template engine escapes it, JSON
for the charts is escaped by `tojson` and drawn by Vega as text, and the rows are base64 that browser.js puts into
text nodes only. Should one of them ever fail, the content security policy still runs no script but the three whose
hashes it names, applies no other style, and lets nothing be fetched. Vega's expressions are interpreted (`ast`),
since compiling them would need `unsafe-eval`.
"""

import base64
import hashlib
import math
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml

from selftaught_assets.recipe import Recipe
from selftaught_assets.report import charts
from selftaught_assets.report.browser import KEPT, LIMIT, Rows, pack
from selftaught_assets.report.contents import ATTACKS, REASONS, STAGES, Contents, Iteration, short
from selftaught_assets.version import __version__

_JOINERS = "\u200c\u200d"
"""They belong to the writing between two characters beyond ASCII (emoji, Persian, Indic), and to nothing elsewhere."""

NAMES = {
    "\x7f": "DEL",
    "\u00ad": "SHY",
    "\u034f": "CGJ",
    "\u061c": "ALM",
    "\u115f": "HCF",
    "\u1160": "HJF",
    "\u180e": "MVS",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200d": "ZWJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u2028": "LS",
    "\u2029": "PS",
    "\u202a": "LRE",
    "\u202b": "RLE",
    "\u202c": "PDF",
    "\u202d": "LRO",
    "\u202e": "RLO",
    "\u2060": "WJ",
    "\u2066": "LRI",
    "\u2067": "RLI",
    "\u2068": "FSI",
    "\u2069": "PDI",
    "\u3164": "HF",
    "\ufeff": "BOM",
    "\uffa0": "HHF",
}
"""Short names as Unicode's charts have them; other characters of the pattern go by their code point."""

_CONTROLS = "".join(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n")
_TAGS = f"{chr(0xE0000)}-{chr(0xE007F)}"
_CLASS = "".join(
    (
        _CONTROLS,
        "".join(character for character in NAMES if character not in _CONTROLS + _JOINERS),
        "\u2061-\u2064",
        "\u206a-\u206f",
        "\ufff9-\ufffb",
        _TAGS,
    )
)
_BEYOND = "[^\x01-\x7f]"

PATTERN = f"[{_CLASS}]|[{_JOINERS}](?!{_BEYOND})|(?<!{_BEYOND})[{_JOINERS}]"
"""A regular expression with the same meaning in Python and, with the flags `gu`, in JavaScript."""

_INVISIBLE = re.compile(PATTERN)


def visible(text: str) -> str:
    """The text with each such character as its sign, such as ⟨RLO⟩; line ends and tabs stay."""
    return _INVISIBLE.sub(lambda found: f"⟨{_name(found.group())}⟩", text)


def _name(character: str) -> str:
    return NAMES.get(character) or f"U+{ord(character):04X}"


_FOLDER = Path(__file__).parent
_SHOWN_P = 0.0001
"""Smaller p-values are shown as smaller than this."""


def render_page(recipe: Recipe, contents: Contents, rows: Rows, *, data: Path, made: datetime) -> str:
    """The whole page as HTML.

    Args:
        recipe: that the contents belong to.
        contents: what is shown.
        rows: of the browser.
        data: the recipe's data folder, to be named.
        made: now, in UTC.
    """
    style = _asset("page.css")
    scripts = [_vega(), _asset("page.js"), _asset("browser.js")]
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            version=__version__,
            recipe=recipe,
            sampled={benchmark.name for benchmark in recipe.benchmarks if benchmark.sample is not None},
            recipe_yaml=yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
            contents=contents,
            charts=_charts(recipe, contents),
            funnels=_funnels(contents.iterations),
            settings=_settings(recipe, contents),
            packed=pack(rows),
            rows=rows,
            limit=LIMIT,
            data=data,
            made=made,
            policy=_policy(style, scripts),
            style=style,
            scripts=scripts,
        )
    )


def _charts(recipe: Recipe, contents: Contents) -> dict[str, charts.Spec]:
    """Every chart of the page by the id of its place."""
    found: dict[str, charts.Spec | None] = {}
    for name, rows in contents.results.items():
        found[f"curve-{name}"] = charts.learning_curve(rows)
        found[f"positions-{name}"] = charts.positions(rows)
        found[f"reliability-{name}"] = charts.reliability(rows)
    if contents.recorded.attacks:
        found["attacks"] = charts.attacks(contents.recorded.attacks)
    for iteration in contents.iterations:
        found |= {f"{name}-{iteration.key}": spec for name, spec in _iteration_charts(recipe, iteration).items()}
    return {place: spec for place, spec in found.items() if spec is not None}


def _iteration_charts(recipe: Recipe, iteration: Iteration) -> dict[str, charts.Spec]:
    found: dict[str, charts.Spec] = {}
    if iteration.funnel:
        found["funnel"] = charts.funnel(iteration)
    if iteration.passes is not None:
        found["passes"] = charts.passes(iteration.passes, first=recipe.stops_when_right)
    if iteration.sides:
        found["sides"] = charts.sides(iteration.sides)
    if iteration.labels is not None and iteration.labels.height:
        found["labels"] = charts.labels(iteration.labels)
    if iteration.lengths is not None and iteration.lengths.height:
        found["lengths"] = charts.lengths(iteration.lengths)
    if iteration.manifest is not None:
        found["loss"] = charts.loss([iteration])
    return found


def _funnels(iterations: list[Iteration]) -> dict[str, list[int | None]]:
    """The rows of every iteration after each step, by the step's name; None where an iteration has not come so far."""
    longest = max((iteration.funnel for iteration in iterations), key=len, default=[])
    left = [{step.name: step.rows for step in iteration.funnel} for iteration in iterations]
    return {step.name: [rows.get(step.name) for rows in left] for step in longest}


def _settings(recipe: Recipe, contents: Contents) -> dict[str, Any]:
    """What the scripts need to know beside charts and rows."""
    judges = {iteration.key: iteration.judge_digest for iteration in contents.iterations}
    checkpoints = {i.key: i.manifest.digest for i in contents.iterations if i.manifest is not None}
    return {
        "themes": {"light": charts.LIGHT, "dark": charts.DARK},
        "invisible": {"pattern": PATTERN, "names": NAMES},
        "reasons": REASONS,
        "kept": KEPT,
        "single": recipe.judgments.form == "single",
        "recipe": recipe.name,
        "checkpoints": {
            key: {"digest": digest, "judges": [other for other, judge in judges.items() if judge == digest]}
            for key, digest in checkpoints.items()
        },
    }


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the installed vl-convert, which takes a second to make it."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def _policy(style: str, scripts: list[str]) -> str:
    """The content security policy: nothing but what stands in the page, known by its hash."""
    runs = " ".join(_hash(script) for script in scripts)
    return (
        f"default-src 'none'; script-src {runs}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_seen,
    )
    environment.filters |= {
        "percent": _percent,
        "points": _points,
        "p_value": _p_value,
        "duration": _duration,
        "count": lambda number: f"{number:,}",
        "short": short,
        "size": _size,
    }
    environment.globals |= {"reasons": REASONS, "stages": STAGES, "attack_words": ATTACKS}
    return environment


def _as_seen(value: object) -> object:
    """Every text that the template prints, but for markup of its own."""
    return visible(value) if type(value) is str else value


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}\u202f%"


def _points(difference: float) -> str:
    return f"{100 * difference:+.1f}".replace("-", "−")


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    return f"p < {_SHOWN_P}" if p < _SHOWN_P else f"p = {p:.{max(2, 1 - math.floor(math.log10(p)))}f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _size(amount: int) -> str:
    return f"{amount / 1e6:.1f} MB"
