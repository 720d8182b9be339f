# Everything that this repository can do. `make` prints the list.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
PRODUCERS := quantizer producer-modelopt-0.37 producer-modelopt-0.43 \
  producer-modelopt-0.43-transformers-5 producer-llm-compressor-0.14
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
	$(BIN)/python -m pytest -q -n auto -m "not engine and not producer and not uv and not gpu and not docker and not browser and not slow"

fmt: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

engine: setup ## install the managed engine (vLLM on the CPU, patched); 3 GiB
	$(BIN)/nvfp4-serve engine install

test: setup engine ## every test; makes the engine and the producer by itself
	$(BIN)/python -m pytest

recipes: setup ## check the recipes, and their conditions on the recorded machines
	$(BIN)/nvfp4-serve recipes --check --hosts tests/data/hosts

test-engine: setup engine ## the tests that start Docker engines, as root
	$(BIN)/python -m pytest -q -m docker

demo: setup engine ## the main job: inspect, plan, serve, ask, stop
	$(BIN)/python examples/demo.py $(EXAMPLE)

# The lists hold what is pinned already where that still serves; delete one to renew it.
requirements: setup ## pin the packages of every environment, with hashes
	$(BIN)/uv pip compile $(COMPILE) requirements/dev.in -o requirements/dev.txt
	for producer in $(PRODUCERS); do \
	  $(BIN)/uv pip compile $(COMPILE) --override requirements/producer-overrides.in \
	    $(foreach name,torch torchvision triton,--no-emit-package $(name)) \
	    requirements/$$producer.in -o requirements/$$producer.txt; done
	$(BIN)/uv pip compile $(COMPILE) --no-deps requirements/twins-torchvision.in \
	  -o requirements/twins-torchvision.txt
	$(BIN)/uv pip compile $(COMPILE) --override requirements/overrides.in \
	  $(foreach name,torch torchvision torchaudio torchcodec,--no-emit-package $(name)) \
	  requirements/engine-cpu.in -o requirements/engine-cpu.txt
	$(BIN)/uv pip compile $(COMPILE) requirements/engine-cuda.in -o requirements/engine-cuda.txt
	for list in launcher image-cpu; do $(BIN)/uv pip compile $(COMPILE) \
	  --constraint requirements/dev.txt requirements/$$list.in -o requirements/$$list.txt; done
	$(BIN)/uv pip compile $(COMPILE) --no-deps requirements/image-b12x.in \
	  -o requirements/image-b12x.txt

example: setup ## make the example again, with real ModelOpt; five minutes
	"$$($(BIN)/python tests/twins/environments.py quantizer)" examples/make_sonnet.py

golden: setup ## write the golden plans again: every checkpoint on every machine
	cd tests && ../$(BIN)/python -m plan.goldens

docs: setup ## write the reference pages from the program and the recipes
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_compatibility.py

site: setup ## write the page of models and machines; build/site/index.html
	$(BIN)/python docs/make_site.py

patches: setup engine ## check the patches, and each one's test on both engines
	$(BIN)/python -I patches/series.py check
	$(BIN)/python -m pytest -q tests/patches

auto: setup engine ## ask vLLM's own code what it would choose; writes recipes/auto/ and what follows from it
	cd tests && ../$(BIN)/python -m selection.make && ../$(BIN)/python -m plan.backend_table
	$(BIN)/python docs/make_backends.py

twins: setup engine ## every layout in published vLLM and in ours; writes docs/layouts.md
	cd tests && ../$(BIN)/python -m twins.matrix
	$(BIN)/python docs/make_layouts.py

pins: setup ## ask the registries for the digests that the images are built from
	$(BIN)/python images/pins.py resolve

wheel: setup ## the launcher's wheel, alone in build/wheel
	$(BIN)/python -c 'import sys; sys.path.insert(0, "images"); import build; build.make_wheel()'

images: setup engine ## build every image that can be built here (TARGETS="cpu base")
	cd tests && PYTHONPATH=../images ../$(BIN)/python -m image_builds $(TARGETS)

bench: setup engine ## measure against named rivals; writes benchmarks/results/
	$(BIN)/python benchmarks/run.py

.PHONY: recipes requirements help setup check fmt engine test demo example docs patches twins bench auto golden site test-engine pins wheel images
