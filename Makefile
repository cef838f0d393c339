# make demo    adapt, end to end, on synthetic data in a fresh environment
# make test    the tests
# make check   formatting, lint and types
# Other places and interpreters: make test VENV=/tmp/env PYTHON=python3.12

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt
# One test process per core, each with one thread of torch.
PYTEST_FLAGS ?= -n auto --dist worksteal

LAYOUT := .cache/layout/adaptpose

.PHONY: demo test check layout clean

demo: $(VENV)/.installed
	$(BIN)/adapt demo

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_FLAGS)

check: $(VENV)/.installed-dev layout
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

# The installed layout as links, for type checkers, which do not follow package-dir.
layout:
	@rm -rf $(LAYOUT)
	@mkdir -p $(LAYOUT)
	@ln -s $(foreach file,$(wildcard adaptpose/*.py),../../../$(file)) $(LAYOUT)
	@ln -s ../../../lifters ../../../datasets ../../../cli $(LAYOUT)

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(INSTALL) -e '.[test]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	touch $@
