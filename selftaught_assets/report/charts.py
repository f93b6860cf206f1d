"""The charts of the report: specifications of Vega-Lite made with Altair, in light and dark, and as pictures.

The page draws the specifications itself, in the reader's colours; marks take their colour from the configuration, by
the name of a style. The pictures are for places that show Markdown, such as the metadata of an asset in Dagster.
"""

import base64
import io
from typing import TYPE_CHECKING, Any

import polars as pl

from selftaught_assets.method.scoring.results import ResultRow
from selftaught_assets.report.contents import Attack, Contents, Iteration, Side, short

if TYPE_CHECKING:
    import altair as alt


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


Spec = dict[str, Any]
WIDE, NARROW = 260, 190
"""Heights, in pixels; the width is the container's."""


def learning_curve(rows: list[ResultRow]) -> Spec:
    """Accuracy by judge with its interval: of greedy verdicts, and of the pooled vote."""
    import altair as alt

    points = [
        {"judge": short(row["judge"]), "verdict": name, "accuracy": accuracy, "low": low, "high": high}
        for row in rows
        for name, accuracy, (low, high) in (
            ("greedy verdict", row["accuracy"], row["interval_clustered"]),
            ("majority vote", row["pooled_vote_accuracy"], row["pooled_vote_interval_clustered"]),
        )
    ]
    low = min(point["low"] for point in points)
    side = alt.XOffset("verdict:N", sort=None, scale=alt.Scale(paddingOuter=0.8))
    base = alt.Chart(_data(points)).encode(
        x=_judges(),
        xOffset=side,
        color=alt.Color("verdict:N", sort=None, title=None),
        tooltip=[
            alt.Tooltip("judge:N"),
            alt.Tooltip("verdict:N"),
            *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("accuracy", "low", "high")),
        ],
    )
    shares = _percent(alt.Y("accuracy:Q", title="right verdicts"), alt.Scale(domain=[max(0.0, low - 0.03), 1.0]))
    layers = (
        base.mark_line(opacity=0.45).encode(y=shares),
        base.mark_rule(strokeWidth=2, opacity=0.55).encode(y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point().encode(y="accuracy:Q"),
    )
    return _spec(alt.layer(*layers), WIDE)


def positions(rows: list[ResultRow]) -> Spec | None:
    """How often a judge is right if the better response stands first, and if it stands second."""
    import altair as alt

    points = [
        {"judge": short(row["judge"]), "position": f"better response {place}", "right": row[name]}
        for row in rows
        for place, name in (("first", "winner_first"), ("second", "loser_first"))
        if row[name] is not None
    ]
    if not points:
        return None
    base = alt.Chart(_data(points)).encode(
        x=_percent(alt.X("right:Q", title="right verdicts"), alt.Scale(zero=False, nice=True)),
        y=alt.Y("judge:N", sort=None, title=None),
    )
    layers = (
        base.mark_line(style="reference").encode(detail="judge:N"),
        base.mark_point(size=80).encode(
            color=alt.Color("position:N", title=None, sort=None),
            tooltip=["judge:N", "position:N", alt.Tooltip("right:Q", format=".1%")],
        ),
    )
    return _spec(alt.layer(*layers), max(WIDE - 30, 28 * len(rows)))


def reliability(rows: list[ResultRow]) -> Spec:
    """How often votes of about one share are right, for the seed and the newest judge."""
    import altair as alt

    shown = rows if len(rows) < 2 else [rows[0], rows[-1]]
    points = [
        {"judge": short(row["judge"]), "confidence": bin["confidence"], "right": bin["accuracy"], "verdicts": bin["n"]}
        for row in shown
        for bin in row["trust"]["reliability"]
        if bin["n"]
    ]
    least = min([point["confidence"] for point in points] + [point["right"] for point in points])
    ends = alt.Scale(domain=[max(0.0, least - 0.05), 1.0])
    ideal = alt.Chart(_data([{"at": ends.domain[0]}, {"at": 1.0}])).mark_line(style="reference")
    base = alt.Chart(_data(points)).encode(
        x=_percent(alt.X("confidence:Q", title="share of votes for the verdict"), ends),
        y=_percent(alt.Y("right:Q", title="right verdicts"), ends),
        color=alt.Color("judge:N", sort=None, title=None),
    )
    layers = (
        ideal.encode(x=alt.X("at:Q", scale=ends), y=alt.Y("at:Q", scale=ends)),
        base.mark_line(opacity=0.35),
        base.mark_point().encode(
            size=alt.Size("verdicts:Q", scale=alt.Scale(range=[25, 160]), legend=None),
            tooltip=[
                "judge:N",
                alt.Tooltip("confidence:Q", format=".0%"),
                alt.Tooltip("right:Q", format=".1%"),
                alt.Tooltip("verdicts:Q", format=","),
            ],
        ),
    )
    return _spec(alt.layer(*layers), WIDE)


def attacks(found: list[Attack]) -> Spec:
    """How often begging for a verdict overturns a right one, by judge and attack."""
    import altair as alt

    points = [
        {"judge": short(one.judge), "attack": one.name, "turned": one.success, "low": one.low, "high": one.high}
        | {"right before": one.n}
        for one in found
    ]
    base = alt.Chart(_data(points)).encode(
        x=_judges(),
        xOffset=alt.XOffset("attack:N", sort=None, scale=alt.Scale(paddingOuter=0.8)),
        color=alt.Color("attack:N", sort=None, title=None),
        tooltip=[
            "judge:N",
            "attack:N",
            *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("turned", "low", "high")),
            alt.Tooltip("right before:Q", format=","),
        ],
    )
    layers = (
        base.mark_rule(strokeWidth=2, opacity=0.55).encode(
            y=_percent(alt.Y("low:Q", title="right verdicts turned"), alt.Scale(zero=True)), y2="high:Q"
        ),
        base.mark_point().encode(y="turned:Q"),
    )
    return _spec(alt.layer(*layers), WIDE)


def funnel(iteration: Iteration) -> Spec:
    """Rows left after each step, from the pool to the trained examples."""
    import altair as alt

    steps = [{"step": step.name, "rows": step.rows} for step in iteration.funnel]
    base = alt.Chart(_data(steps)).encode(
        x=alt.X("rows:Q", axis=None),
        y=alt.Y("step:N", sort=None, title=None, axis=alt.Axis(labelLimit=200)),
        tooltip=["step:N", alt.Tooltip("rows:Q", format=",")],
    )
    layers = (
        base.mark_bar(height={"band": 0.7}, cornerRadiusEnd=2),
        base.mark_text(align="left", dx=6).encode(text=alt.Text("rows:Q", format=",")),
    )
    return _spec(alt.layer(*layers), NARROW + 30)


def passes(counts: pl.DataFrame, *, first: bool) -> Spec:
    """Outcomes of the pairs: samples until the first right judgment, or the share of right ones."""
    import altair as alt

    title = "samples until the first right judgment" if first else "right judgments of a pair"
    chart = alt.Chart(_data(counts.to_dicts())).mark_bar(cornerRadiusEnd=2)
    chart = chart.encode(
        x=alt.X("label:N", sort=None, title=title, axis=alt.Axis(labelAngle=0, labelOverlap=True)),
        y=alt.Y("pairs:Q", title="pairs", axis=alt.Axis(tickCount=4)),
        tooltip=[alt.Tooltip("label:N", title=title), alt.Tooltip("pairs:Q", format=",")],
    )
    return _spec(chart, NARROW)


def sides(found: list[Side]) -> Spec:
    """How often first judgments of training pairs are right, by the position of the chosen response."""
    import altair as alt

    points = [
        {"chosen response in": side.chosen_position, "right": side.right / side.n, "low": side.low, "high": side.high}
        | {"pairs": side.n}
        for side in found
    ]
    base = alt.Chart(_data(points)).encode(
        x=alt.X("chosen response in:N", axis=alt.Axis(labelAngle=0)),
        tooltip=[
            "chosen response in:N",
            *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("right", "low", "high")),
            alt.Tooltip("pairs:Q", format=","),
        ],
    )
    shares = _percent(alt.Y("right:Q", title="right at the first try"), alt.Scale(domain=[0, 1]))
    layers = (
        base.mark_bar(width={"band": 0.5}, cornerRadiusEnd=2, style="pale").encode(y=shares),
        base.mark_rule(strokeWidth=2, style="strong").encode(y=alt.Y("low:Q"), y2="high:Q"),
    )
    return _spec(alt.layer(*layers), NARROW)


def labels(counts: pl.DataFrame) -> Spec:
    """Examples by label, in each split."""
    import altair as alt

    chart = alt.Chart(_data(counts.to_dicts())).mark_bar(cornerRadiusEnd=2)
    chart = chart.encode(
        x=alt.X("split:N", title=None, sort=None, axis=alt.Axis(labelAngle=0), scale=alt.Scale(paddingInner=0.4)),
        xOffset="label:N",
        y=alt.Y("examples:Q", title="examples", axis=alt.Axis(tickCount=4)),
        color=alt.Color("label:N", title=None),
        tooltip=["split:N", "label:N", alt.Tooltip("examples:Q", format=",")],
    )
    return _spec(chart, NARROW)


def lengths(bins: pl.DataFrame) -> Spec:
    """Judgments by length in tokens, right and wrong ones apart."""
    import altair as alt

    rows = bins.with_columns((pl.col("tokens") + pl.col("width")).alias("end"))
    chart = alt.Chart(_data(rows.to_dicts())).mark_bar(binSpacing=1)
    chart = chart.encode(
        x=alt.X("tokens:Q", bin="binned", title="tokens in a judgment"),
        x2="end:Q",
        y=alt.Y("judgments:Q", title="judgments", axis=alt.Axis(tickCount=4)),
        color=alt.Color("outcome:N", title=None, scale=alt.Scale(domain=["right", "wrong or invalid"])),
        tooltip=["tokens:Q", "outcome:N", alt.Tooltip("judgments:Q", format=",")],
    )
    return _spec(chart, NARROW)


def loss(iterations: list[Iteration]) -> Spec:
    """Training loss by step and validation loss by epoch, of one or several checkpoints."""
    import altair as alt

    points = [point for iteration in iterations for point in _losses(iteration)]
    several = len(iterations) > 1
    hue = alt.Color("iteration:N" if several else "kind:N", sort=None, title=None)
    base = alt.Chart(_data(points)).encode(
        x=alt.X("step:Q", title="step", axis=alt.Axis(tickCount=6)),
        y=alt.Y("loss:Q", title="loss, nats per token", axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=True)),
        color=hue,
        tooltip=["iteration:N", "kind:N", "step:Q", alt.Tooltip("loss:Q", format=".4f")],
    )
    layers = (
        base.transform_filter("datum.kind == 'training'").mark_line(strokeWidth=1.5, opacity=0.8),
        base.transform_filter("datum.kind == 'validation'").mark_point(size=70, shape="diamond"),
    )
    return _spec(alt.layer(*layers), NARROW)


def _losses(iteration: Iteration) -> list[dict[str, object]]:
    metrics = iteration.manifest.metrics
    epochs = len(metrics.validation_losses)
    training = [("training", step, value) for step, value in metrics.train_loss_curve]
    validation = [
        ("validation", round(metrics.steps * (epoch + 1) / epochs), value)
        for epoch, value in enumerate(metrics.validation_losses)
    ]
    return [
        {"iteration": iteration.key, "kind": kind, "step": step, "loss": value}
        for kind, step, value in (*training, *validation)
    ]


def _judges() -> "alt.X":
    import altair as alt

    return alt.X("judge:N", sort=None, title=None, axis=alt.Axis(labelAngle=0))


def _percent(channel: Any, scale: "alt.Scale") -> Any:
    import altair as alt

    return channel.scale(scale).axis(alt.Axis(format=".0%", tickCount=5))


def _data(values: list[dict[str, Any]]) -> "alt.Data":
    """Rows as they are: types are named in the encodings, so that nothing is guessed from values."""
    import altair as alt

    return alt.Data(values=values)


def _spec(chart: Any, height: int) -> Spec:
    return chart.properties(width="container", height=height).to_dict()


WIDTH = 520
"""Pixels; the height is the chart's."""


def key_plots(contents: Contents) -> dict[str, str]:
    """PNG files in base64 by name: the learning curve of the first benchmark, the newest funnel and the losses."""
    specs: dict[str, Spec] = {}
    trained = [iteration for iteration in contents.iterations if iteration.manifest]
    if contents.results:
        specs["learning_curve"] = learning_curve(next(iter(contents.results.values())))
    if contents.iterations and contents.iterations[-1].funnel:
        specs["funnel"] = funnel(contents.iterations[-1])
    if trained:
        specs["loss"] = loss(trained)
    return {name: png(spec) for name, spec in specs.items()}


def png(spec: Spec) -> str:
    """A chart on a white ground as PNG, in base64."""
    import vl_convert
    from PIL import Image

    drawn = vl_convert.vegalite_to_png(spec | {"width": WIDTH}, config=IMAGE, scale=1)
    small = io.BytesIO()  # The event log keeps it, and vl-convert's is twice as long.
    Image.open(io.BytesIO(drawn)).convert("RGB").save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode("ascii")
