# Needs Python 3.10 or newer and make. Everything is installed into .venv, once, when a target first wants it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test test-slow mutants check docs grammar renew clean

help:
	@echo 'make demo    run examples/dogs.circuit on the bundled network and images'
	@echo 'make test    the tests'
	@echo 'make test-slow  tests that take longer: whole runs, every page of the docs, every family of networks'
	@echo 'make mutants put mistakes into a copy of the package and see that the tests find them'
	@echo 'make check   lint, format, types, import order'
	@echo 'make docs    the documentation, into site/'
	@echo 'make grammar make the parser tables of grammar/circuit.lark, after a change to it or a new Lark'
	@echo 'make renew   run every command in the documentation and write down what it prints'
	@echo 'make clean   remove what the targets above made'

demo: $(VENV)/.run
	@$(BIN)/circuitlang run examples/dogs.circuit --out runs
	@echo 'The diagrams; open them in a browser:'
	@ls runs/dogs/*/diagram.html | sed 's/^/  /'

# One thread each: two workers that fight for the cores are slower than one.
test: $(VENV)/.test
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(or $(WORKERS),auto) --dist worksteal

test-slow: $(VENV)/.test
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(or $(WORKERS),auto) --dist worksteal -m 'slow and not nightly'

mutants: $(VENV)/.test
	@$(BIN)/python -m tests.mutations

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

docs: $(VENV)/.dev
	@$(BIN)/zensical build --clean --strict
	@echo 'The documentation is in site/index.html.'

grammar: $(VENV)/.run
	$(BIN)/python -m circuitlang.compiler.grammar

renew: $(VENV)/.test
	$(BIN)/python docs/renew.py
	$(BIN)/python editors/textmate.py
	$(BIN)/python editors/treesitter.py
	$(BIN)/python editors/emacs.py

clean:
	rm -rf $(VENV) site build dist runs

# An installation, by what it is for: `.run` has what the program needs, `.test` and `.dev` their extras too. It is
# made again when pyproject.toml changes. pip is heard only when it downloads, which is what takes long.
$(VENV)/.run: EXTRAS =
$(VENV)/.test: EXTRAS = [test]
$(VENV)/.dev: EXTRAS = [dev]
$(VENV)/.dev: $(VENV)/.test
$(VENV)/.run $(VENV)/.test $(VENV)/.dev: pyproject.toml
	@test -x $(BIN)/python || { echo 'Making a virtual environment in $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'Installing circuitlang$(EXTRAS) into $(VENV); PyTorch is large, the first time takes minutes'
	@{ $(BIN)/python -m pip install --progress-bar off --editable '.$(EXTRAS)' || echo 'pip failed'; } | awk ' \
	  /^ *Downloading .*[0-9.]+ [MG]B\)/ { print "  " $$2, $$3, $$4; fflush() } \
	  /^Installing collected/ { print "  unpacking"; fflush() } \
	  /^pip failed/ { failed = 1 } END { exit failed }'
	@touch $@
