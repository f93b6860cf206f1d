"""`python -m benchmarks [NAME …] [--small] [--rounds N]`: runs benchmarks, prints them, adds them to results.json.

Belongs here: which benchmarks there are. A name is that of a module; one may give several results.
"""

import argparse
from importlib import import_module
from pathlib import Path

from benchmarks.measuring import RESULTS, write_results

NAMES = (
    "sampling",
    "vllm",
    "samples",
    "journal_index",
    "data_plane",
    "trace",
    "pipeline_null",
    "judgments_memory",
    "service",
    "loop",
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Runs benchmarks and writes results.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="shows that they run, not how fast")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    for name in chosen.names:
        if name not in NAMES:
            parser.error(f"there is no benchmark {name!r}, only {', '.join(NAMES)}")
    rounds = 1 if chosen.small else chosen.rounds
    for name in chosen.names or NAMES:
        print(f"\n{name}", flush=True)
        results = import_module(f"benchmarks.{name}").run(small=chosen.small, rounds=rounds)
        write_results(results, chosen.results)
    print(f"\nWritten to {chosen.results}.")


if __name__ == "__main__":
    main()
