# Everything that this repository can do. `make` prints the list.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
EXAMPLE := examples/sonnet-18-nvfp4
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## make .venv with the launcher and the tools, all pinned with hashes

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), sys.version'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --editable .
	touch $@

check: setup ## format, lint, types, floors, quick tests; under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not engine and not producer and not gpu"

fmt: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: help setup check fmt
