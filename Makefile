# Every chore by one name. `make demo` and `make test` are the two a newcomer needs; each installs what it lacks.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TWINS  := $(shell find sidecar -name '*.pyx' 2>/dev/null)
TYPED  := $(shell $(PYTHON) -c "import runpy; print(*runpy.run_path('sidecar/compiled.py')['SOURCES'])")
ONCE   ?=
ONLY   ?=
ARGS   ?=

.PHONY: help setup ext demo test lint bench plugins image docs lock clean
help:
	@echo 'make demo [ONCE=1]   run the main job on loopback; ONCE=1 checks itself and exits'
	@echo 'make test [ARGS=..]  the whole test suite (ARGS go to pytest)'
	@echo 'make lint            ruff, mypy, import floors, house rules'
	@echo 'make bench [ONLY=..] beside Envoy, prints a table and writes bench/results.json'
	@echo 'make image [BASE=..]  the container image, on any base with Python 3.11 or newer; needs no registry'
	@echo 'make setup | ext | plugins | docs | lock | clean'

setup: $(VENV)/.installed $(VENV)/.twins

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/pip pyproject.toml setup.py constraints.txt
	@echo 'installing into $(VENV), once; takes a minute'
	$(BIN)/pip install --quiet -c constraints.txt 'setuptools>=77' cython mypy types-PyYAML
	SIDECAR_PURE=1 $(BIN)/pip install --quiet --no-build-isolation -c constraints.txt -e '.[dev]'
	@touch $@

# What is compiled is compiled again when one of its sources changes, without asking pip again.
$(VENV)/.twins: $(VENV)/.installed sidecar/compiled.py $(TWINS) $(TYPED)
	@echo 'compiling the request path; takes a minute'
	$(BIN)/python setup.py --quiet build_ext --inplace
	@$(BIN)/python scripts/check_compiled.py
	@touch $@

ext: $(VENV)/.installed
	@rm -f $(VENV)/.twins
	@$(MAKE) --no-print-directory $(VENV)/.twins

demo: setup
	$(BIN)/python -m demo $(if $(ONCE),--once)

test: setup
	$(BIN)/python -m pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_house.py

bench: setup
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

plugins:
	plugins/build

image: setup
	scripts/build_image

docs: setup
	$(BIN)/python scripts/generate_docs.py

# The versions that the tests pin the behaviour of; run it on purpose, read the diff.
lock: setup
	$(BIN)/pip freeze --exclude-editable --exclude loom-sidecar > constraints.txt

clean:
	rm -rf build dist *.egg-info $(VENV)
	find sidecar -name '*.so' -delete
