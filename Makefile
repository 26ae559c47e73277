# `make book` and `make test` need nothing but Python 3.11 to 3.13; uv is used where it is installed.
PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
PORT   ?= 8000

WHAT   ?= -r requirements.txt

BIN       := $(VENV)/bin
INSTALLED := $(VENV)/.installed
BUILT     := _build/html/.built
SOURCES   := $(shell find book site srkit tools -type f ! -path '*/.*' ! -name '*.pyc')
ifneq ($(shell command -v uv),)
NEW_VENV := uv venv --quiet --seed --python $(PYTHON) $(VENV)
INSTALL  := uv pip install --compile-bytecode --python $(BIN)/python
else
NEW_VENV := $(PYTHON) -m venv $(VENV)
INSTALL  := $(BIN)/python -m pip install --disable-pip-version-check
endif

.DEFAULT_GOAL := help
.PHONY: help install book test lint types test-library test-notebooks test-pages test-oldest test-newest fuzz mutants vendor links addresses audit serve lab clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install everything the book and the tests need

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) or sys.exit(f"Python 3.11 to 3.13 is needed, $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(NEW_VENV)
	$(INSTALL) $(WHAT)
	@touch $@

book: $(BUILT) ## build the book as HTML
	@echo "The book is at $(CURDIR)/_build/html/index.html (make serve shows it on localhost)."

# A page that warned counts as read: forget it, or the next run would pass without looking at it.
$(BUILT): $(INSTALLED) _config.yml _toc.yml $(SOURCES)
	$(BIN)/jupyter-book build . -W --keep-going --quiet || { rm -rf _build/.doctrees; exit 1; }
	@touch $@

test: lint types test-library test-notebooks test-pages ## all checks: the five below, in this order

lint: $(INSTALLED) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## pyright over srkit/
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

test-library: $(INSTALLED) ## tests/, which need no network, and skip what needs absent research data
	$(BIN)/python -m pytest tests --ignore=tests/book -n $(JOBS)

test-notebooks: $(INSTALLED) ## every notebook, in the smoke budget
	SRKIT_BUDGET=smoke OMP_NUM_THREADS=1 $(BIN)/python -m pytest book --nbval-lax \
	  --nbval-cell-timeout 300 -n $(JOBS) --dist loadfile

test-pages: book ## the built book in a browser
	$(BIN)/python -m pytest tests/book -n $(JOBS)

OTHERS := test-library test-notebooks
test-oldest: ## library and notebooks on the oldest torch that pyproject.toml allows
	$(MAKE) $(OTHERS) VENV=.venv-oldest WHAT="-e .[book,onnx,dev] $(shell $(PYTHON) tools/oldest.py torch torchvision)"

test-newest: ## library and notebooks on the newest of everything that pyproject.toml allows
	$(MAKE) $(OTHERS) VENV=.venv-newest WHAT="--upgrade -e .[book,onnx,dev]"

mutants: $(INSTALLED) ## 200 copies of srkit with one wrong character: do the tests notice? (an hour)
	$(BIN)/python tools/mutants.py --count 200 --seed $(or $(SEED),0)

vendor: $(INSTALLED) ## the program that runs networks in a page, from npm's registry
	$(BIN)/python tools/vendor.py

links: $(INSTALLED) ## the book's links to other sites (needs a network)
	$(BIN)/jupyter-book build . --builder linkcheck

addresses: $(INSTALLED) ## the addresses that weights and data sets are fetched from (needs a network)
	$(BIN)/python tools/addresses.py

audit: $(INSTALLED) ## the installed packages against published advisories (needs a network)
	$(INSTALL) pip-audit
	$(BIN)/pip-audit --local --skip-editable

fuzz: $(INSTALLED) ## 10,000 damaged inputs, 100 kills, a table (SEED=7 INPUTS=300 KILLS=9)
	cd tests && OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m fuzz $(if $(SEED),--seed $(SEED)) $(if $(INPUTS),--inputs $(INPUTS)) $(if $(KILLS),--kills $(KILLS)) $(FUZZ)

serve: book ## show the built book on http://127.0.0.1:8000
	$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

lab: $(INSTALLED) ## open JupyterLab on the book
	$(BIN)/python -m jupyterlab book

clean: ## remove what was built, but not .venv
	rm -rf _build build dist .pytest_cache .ruff_cache
