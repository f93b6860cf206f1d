"""The colours and type of charts, light and dark, as configurations of Vega-Lite.

Belongs here: what all charts have in common. Not here: the charts (`charts`) and the colours of the page (page.css),
which these agree with.
"""

from typing import Any

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_LIGHT = {
    "ink": "#23262b",
    "muted": "#666c75",
    "line": "#e3e1db",
    "main": "#0f6b76",
    "other": "#c0622d",
    "third": "#7a6bb0",
    "pale": "#a9c9cc",
    "back": "#ffffff",
}
_DARK = {
    "ink": "#e6e4df",
    "muted": "#9aa1aa",
    "line": "#33383f",
    "main": "#5cbcc6",
    "other": "#e5935f",
    "third": "#ab9fe0",
    "pale": "#2f5a60",
    "back": "#1b1e22",
}


def theme(colours: dict[str, str]) -> dict[str, Any]:
    """A configuration of Vega-Lite; marks take their colour from it by the name of a style."""
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            "labelColor": colours["muted"],
            "titleColor": colours["muted"],
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "gridColor": colours["line"],
            "domainColor": colours["line"],
            "tickColor": colours["line"],
            "labelPadding": 5,
        },
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False},
        "legend": {
            "labelColor": colours["ink"],
            "labelFontSize": 11,
            "title": None,
            "orient": "top",
            "offset": 4,
            "symbolType": "circle",
            "symbolSize": 70,
            "symbolOpacity": 1,
        },
        "range": {"category": [colours[name] for name in ("main", "other", "third", "muted")]},
        "bar": {"color": colours["main"]},
        "line": {"color": colours["main"], "strokeWidth": 2},
        "point": {"color": colours["main"], "filled": True, "size": 55},
        "rule": {"color": colours["muted"]},
        "text": {"color": colours["ink"], "fontSize": 11},
        "style": {
            "reference": {"color": colours["muted"], "strokeDash": [3, 3], "strokeWidth": 1.5},
            "pale": {"color": colours["pale"]},
            "strong": {"color": colours["main"]},
        },
    }


LIGHT, DARK = theme(_LIGHT), theme(_DARK)
IMAGE = LIGHT | {"background": _LIGHT["back"], "padding": 10}
"""For pictures that stand elsewhere, in Dagster."""
