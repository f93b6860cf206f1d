"""What a served judge answers a second, beside the same judge asked offline about the same pairs.

Offline is `compare_many` over all pairs at once, with an empty journal; and over as many pairs at a time as there are
connections, which is what so few rows can give. Served is `selftaught serve` in a process of its own, asked over
loopback by so many connections, each of which sends its next pair when it has the answer to the last one. All load the
demo's seed model and cast the votes that its recipe names, up to the decision. Offline and served take turns, in new
processes, so that neither finds the other's samples. The answers are compared, and have to be equal.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

import polars as pl

from benchmarks.measuring import Result, Side, compared, in_process
from selftaught_assets.recipe import load_recipe

CONNECTIONS = (20, 1)
ALONE = 40
"""Pairs that a single connection asks about."""
_ANSWERED = ("verdict", "votes_a", "votes_b", "votes_tie", "votes_invalid")


class Served(NamedTuple):
    """What the clients saw."""

    rate: float
    """Requests a second."""
    milliseconds: list[float]
    answers: list[list[Any]]


def run(*, small: bool, rounds: int) -> dict[str, Result]:
    """Requests a second and the time to an answer, at 20 connections and at one."""
    count, votes = 8 if small else 320, load_recipe("demo").evaluation.votes
    pairs = read_pairs(count)
    offline: dict[int, list[float]] = {size: [] for size in (count, *CONNECTIONS)}
    served: dict[int, list[Served]] = {connections: [] for connections in CONNECTIONS}
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {votes} votes")
    for _ in range(rounds):
        told = in_process("benchmarks.service", count, votes)
        for size, rate in zip(offline, told["rates"], strict=True):
            offline[size].append(rate)
        with serving() as port:
            ask(port, pairs[:2], votes, 1)  # The first question loads what later ones find.
            for connections in CONNECTIONS:
                some = pairs if connections > 1 else pairs[:ALONE]
                served[connections].append(found := ask(port, some, votes, connections))
                if found.answers != told["answers"][: len(some)]:
                    raise RuntimeError("The service and the offline judge do not agree.")
    print(f"load {os.getloadavg()[0]:.1f}")
    results = {}
    for connections, found in served.items():
        ours = Side(f"served, {connections} connections", [one.rate for one in found], "requests/s")
        together = Side(f"offline, {connections} at a time", offline[connections], "requests/s")
        n, name = sum(len(one.milliseconds) for one in found), f"service_{connections}"
        if connections > 1:
            results[name] = compared(ours, Side("offline, all at once", offline[count], "requests/s"), n)
        results[f"{name}_width"] = compared(ours, together, n)
        for percent in (50, 99):
            results[f"{name}_p{percent}"] = milliseconds(percent, found, 1000 * connections / together.median)
    return results


def milliseconds(percent: int, found: Sequence[Served], offline: float) -> Result:
    """A percentile of the time to an answer, the median of the rounds; beside the mean time of a batch offline."""
    times = [quantiles(one.milliseconds, n=100, method="inclusive")[percent - 1] for one in found]
    print(f"p{percent}: {median(times):,.0f} ms ({min(times):,.0f} to {max(times):,.0f}); offline {offline:,.0f} ms")
    n = sum(len(one.milliseconds) for one in found)
    value, baseline = round(median(times), 1), round(offline, 1)
    return {"value": value, "baseline": baseline, "ratio": round(value / baseline, 3), "unit": "ms", "n": n}


def read_pairs(count: int) -> list[dict[str, str]]:
    """The first pairs of the demo's benchmark."""
    lines = load_recipe("demo").benchmarks[0].path.read_text(encoding="utf-8").splitlines()[:count]
    return [{name: json.loads(line)[name] for name in ("instruction", "response_a", "response_b")} for line in lines]


@contextmanager
def serving() -> Iterator[int]:
    """`selftaught serve` of the seed model; gives its port."""
    command = [sys.executable, "-c", "from selftaught_assets.cli import main; main()", "serve", "--judge", "seed"]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            environment = os.environ | {"SELFTAUGHT_DATA": folder}
            options = ["--port", "0", "--rate-limit", "100000"]
            server = subprocess.Popen([*command, *options], env=environment, stdout=output, stderr=output)
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
                if server.poll() is not None:
                    raise RuntimeError(f"The service did not start: {log.read_text()}")
                time.sleep(0.05)
            yield int(found[1])
        finally:
            server.terminate()
            server.wait()


def ask(port: int, pairs: Sequence[dict[str, str]], votes: int, connections: int) -> Served:
    """Asks about every pair once, in threads, which cost little beside the service on the same cores."""
    waiting = iter(enumerate(pairs))
    taking = threading.Lock()
    answers: list[list[Any]] = [[]] * len(pairs)
    milliseconds: list[float] = []

    def client() -> None:
        connection = HTTPConnection("127.0.0.1", port)
        while True:
            with taking:
                place, pair = next(waiting, (None, None))
            if pair is None:
                break
            started = time.perf_counter()
            body = json.dumps(pair | {"votes": votes})
            connection.request("POST", "/v1/compare", body, {"Content-Type": "application/json"})
            said = json.loads(connection.getresponse().read())
            milliseconds.append(1000 * (time.perf_counter() - started))
            answers[place] = [said[name] for name in _ANSWERED]
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(connections)]
    started = time.perf_counter()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return Served(len(pairs) / (time.perf_counter() - started), milliseconds, answers)


def main(count: int, votes: int) -> None:
    """The offline side: prints its rates and its answers, without the loading of the model."""
    from selftaught_assets.judge import Judge

    pairs, rates, answers = pl.DataFrame(read_pairs(count)), [], []
    for size in (count, *CONNECTIONS):
        some = pairs if size > 1 else pairs[:ALONE]
        with tempfile.TemporaryDirectory() as folder, Judge.load("seed", data=Path(folder)) as judge:
            judge.compare(*pairs.row(0), votes=1)
            started = time.perf_counter()
            judged = pl.concat([judge.compare_many(part, votes=votes) for part in some.iter_slices(size)])
            rates.append(some.height / (time.perf_counter() - started))
            answers = answers or judged.select(_ANSWERED).rows()
    print(json.dumps({"rates": rates, "answers": answers}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
