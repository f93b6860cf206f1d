"""The key charts as pictures, for places that show Markdown, such as the metadata of an asset in Dagster.

Belongs here: which charts, and their size. Not here: the charts (`charts`).
"""

import base64

from selftaught_assets.report import charts
from selftaught_assets.report.contents import Contents
from selftaught_assets.report.themes import IMAGE

WIDTH = 520
"""Pixels; the height is the chart's."""


def key_plots(contents: Contents) -> dict[str, str]:
    """PNG files in base64 by name: the learning curve of the first benchmark, the newest funnel and the losses."""
    specs: dict[str, charts.Spec] = {}
    trained = [iteration for iteration in contents.iterations if iteration.manifest]
    if contents.results:
        specs["learning_curve"] = charts.learning_curve(next(iter(contents.results.values())))
    if contents.iterations and contents.iterations[-1].funnel:
        specs["funnel"] = charts.funnel(contents.iterations[-1])
    if trained:
        specs["loss"] = charts.loss(trained)
    return {name: png(spec) for name, spec in specs.items()}


def png(spec: charts.Spec) -> str:
    """A chart on a white ground as PNG, in base64."""
    import vl_convert

    picture = vl_convert.vegalite_to_png(spec | {"width": WIDTH}, config=IMAGE, scale=1)
    return base64.b64encode(picture).decode("ascii")
