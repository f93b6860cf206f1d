"""Characters that cannot be seen, or that change how others are seen, made visible.

Belongs here: which characters those are, and the sign for each. Not here: markup, which the template engine and
`textContent` keep from being any.

A judgment may hold anything: an override that turns "[[A]]" around, a zero-width space inside a word, a line of
invisible tag characters. The page shows text as it was, so these are shown as what they are. The script of the page
gets `PATTERN` and `NAMES` from here, so that there is one rule.
"""

import re

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
