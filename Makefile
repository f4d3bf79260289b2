# `make help` lists the targets. Needs only Python 3.11 or 3.12 and make; everything is installed into .venv.
FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(firstword $(shell for p in python3 python3.12 python3.11 python; do $$p -c '$(FITS)' 2>/dev/null && echo $$p; done))
VENV ?= .venv
CATEGORY ?= car
PRESET ?= draft
PIP_ARGS ?=
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt
# Every public tensor signature is checked while the tests run. TESTERS processes share them, with one thread each.
TESTERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(TESTERS) --dist worksteal --jaxtyping-packages=gan2shape,beartype.beartype

# Tests start hundreds of processes: without caches of bytecode, each would compile the package and its tests anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-all lint format docs wheel clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.core: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed: install it, or name it with make PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing gan2shape into $(VENV) ..."
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@echo "Installing the development tools into $(VENV) ..."
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

run: $(VENV)/.core  ## install, then reconstruct a sample of the bundled generator (CATEGORY=car PRESET=draft)
	$(BIN)/gan2shape run --category $(CATEGORY) --preset $(PRESET)

test: $(VENV)/.dev  ## install, then run the tests that take seconds (minutes on two cores)
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev  ## every test: long fuzzing, published sizes, mutations of the headline too
	$(PYTEST)

lint: $(VENV)/.dev  ## style, formatting rules, import floors
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## let ruff repair what it can
	$(BIN)/ruff check --fix .

docs: $(VENV)/.dev  ## build the documentation's site into site/, broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

wheel: $(VENV)/.dev  ## build dist/*.whl
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps -w dist .

clean:  ## remove what the targets above made, .venv included
	rm -rf $(VENV) dist build site .pytest_cache .ruff_cache .import_linter_cache
