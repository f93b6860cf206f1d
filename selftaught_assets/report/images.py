"""The key charts as pictures, for places that show Markdown, such as the metadata of an asset in Dagster.

Belongs here: which charts, and their size. Not here: the charts (`charts`).
"""

import base64
import struct
import zlib

from selftaught_assets.report import charts
from selftaught_assets.report.contents import Contents
from selftaught_assets.report.themes import IMAGE

WIDTH = 520
"""Pixels; the height is the chart's."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
    return base64.b64encode(_compressed(picture)).decode("ascii")


def _compressed(picture: bytes) -> bytes:
    """The same PNG, compressed as far as zlib can: the event log keeps it, and vl-convert's is three times as long."""
    chunks, place = [], len(_SIGNATURE)
    while place < len(picture):
        length, name = struct.unpack_from(">I4s", picture, place)
        chunks.append((name, picture[place + 8 : place + 8 + length]))
        place += length + 12
    pixels = zlib.decompress(b"".join(content for name, content in chunks if name == b"IDAT"))
    before, after = ([chunk for chunk in chunks if (chunk[0] == b"IEND") is last] for last in (False, True))
    kept = [chunk for chunk in before if chunk[0] != b"IDAT"]
    return _SIGNATURE + b"".join(_chunk(*chunk) for chunk in (*kept, (b"IDAT", zlib.compress(pixels, 9)), *after))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
