"""What benchmarks share: what one says, how its rounds are taken, where results are written.

Belongs here: numbers and files. Not here: what is measured.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypedDict

RESULTS = Path(__file__).parent / "results.json"


class Result(TypedDict):
    """One benchmark, as written to results.json. Medians, where there were several rounds."""

    value: float
    baseline: float
    ratio: float
    unit: str
    n: int


class Side(NamedTuple):
    """One of the two things that are compared; a number for each round."""

    name: str
    numbers: list[float]
    unit: str

    @property
    def median(self) -> float:
        return median(self.numbers)

    def __str__(self) -> str:
        digits = 0 if self.median >= 100 else 2
        numbers = (self.median, min(self.numbers), max(self.numbers))
        middle, low, high = (f"{number:,.{digits}f}" for number in numbers)
        return f"{self.name}: {middle} {self.unit} ({low} to {high})"


def compared(ours: Side, other: Side, n: int, *, inverse: bool = False) -> Result:
    """Prints both sides and their ratio: ours over the other one, or the inverse."""
    ratio = other.median / ours.median if inverse else ours.median / other.median
    print(f"{ours}\n{other}\nratio {ratio:.3f}, n = {n:,}")
    return {
        "value": round(ours.median, 4),
        "baseline": round(other.median, 4),
        "ratio": round(ratio, 3),
        "unit": ours.unit,
        "n": n,
    }


def in_turn(ours: Callable[[], float], other: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Takes both sides in turn, so that a busy moment of the machine meets both."""
    numbers: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        numbers[0].append(ours())
        numbers[1].append(other())
    return numbers


def seconds(work: Callable[[], object]) -> float:
    """Wall time."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_process(module: str, *arguments: object, python: str = sys.executable) -> dict[str, float]:
    """Runs `python -m <module> <arguments>` and reads the JSON object on its last line; adds `peak_gib` of its memory.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run([python, "-m", module, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_gib() -> float:
    """The most memory that this process ever had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_results(results: dict[str, Result], path: Path) -> None:
    """Adds results to the file, in place of older ones of the same names."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps(known | results, indent=2) + "\n", encoding="utf-8")
