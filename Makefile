# Everything a person or a machine runs in this project. `make` alone lists it.

PYTHON ?= python3
BIN := .venv/bin
# One more than there are cores: the end-to-end tests wait a third of their time, for machines and for polls.
PROCESSES = $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
# Not even read for `make unit`: no test in them is without an engine or servers.
SLOW_FOLDERS := tests/conformance tests/engine tests/lab tests/toolchain

.DEFAULT_GOAL := help
.PHONY: help setup toolchain kustomize browser demo lab-stop test unit check conformance format bench scale clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

# One stamp for the virtual environment: it is made again when a list of packages changes.
.venv/installed: requirements.txt requirements-dev.txt requirements-data.txt constraints.txt
	@echo "Python packages into .venv (about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python -r requirements-data.txt
	@touch $@

setup: .venv/installed ## the virtual environment in .venv

toolchain: setup ## pulumi, its plugins, talosctl, kustomize: found, downloaded, or built
	@$(BIN)/python -m toolchain ensure

kustomize: setup
	@$(BIN)/python -m toolchain ensure kustomize

browser: setup ## Chromium, in which the lab's page is tested: by apt-get, about a minute, once
	@$(BIN)/python -m tests.lab.page.browser

demo: toolchain ## a cluster in the lab, made by the real `pulumi up -s homelab`
	@$(BIN)/python -m lab.demo

lab-stop: setup ## end the lab; its state stays in .lab
	@$(BIN)/python -m lab stop

unit: setup ## the tests of the program itself, without engine or servers
	@$(BIN)/python -m pytest -q -m "not engine and not servers" --numprocesses auto --dist loadfile $(SLOW_FOLDERS:%=--ignore=%)

# Without a browser the tests that need one fail, and all others run.
test: toolchain ## every test, the end-to-end ones included
	-@$(BIN)/python -m tests.lab.page.browser
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

check: setup kustomize ## what must hold before a commit: format, lint, types, quick tests, the clusters and their components
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -m "not engine"
	@$(BIN)/python -m cluster_stack check --infrastructure

format: setup ## put the code into the project's form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

conformance: toolchain ## the lab, judged by tests that others wrote; fetches or builds what it needs, about an hour
	@$(BIN)/python -m tests.conformance

bench: toolchain ## the figures of the project, as ratios measured in one run
	@$(BIN)/python -m tests.bench

scale: toolchain ## a cluster of 3+300 nodes in the lab: its memory and its time; about 20 minutes and 6 GB
	@$(BIN)/python -m tests.scale

clean: ## remove what `make` made, but not the lab's state
	rm -rf .venv .toolchain .mypy_cache .pytest_cache .ruff_cache
