# make demo, make test: all that a fresh machine with python3 >= 3.11, git and make needs.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
CPUS := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
# Twice as many as there are CPUs: a test of processes waits for them a good part of its time.
TESTERS := $(shell echo $$(($(CPUS) * 2)))
# Root makes it without help.
OWN_NETWORK = $(shell test "$$(id -u)" = 0 || ! unshare -rn true 2>/dev/null || echo unshare -rn)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# With it each tester, and each process of a test, would compile all of the sources anew: four times the CPU of a start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-agents lint docs man bench wheel clean

demo: $(VENV)/.installed
	@$(BIN)/python docs/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(TESTERS) -m "not slow and not agents"

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(TESTERS) -m "slow or hypothesis" --hypothesis-profile=thorough -o faulthandler_timeout=3000

# Against a model server on the loopback, in a network of its own where that is permitted. The CLIs are npm packages.
test-agents: $(VENV)/.installed-dev
	$(BIN)/python tests/agents/packages.py
	$(OWN_NETWORK) $(BIN)/python -m pytest -n $(TESTERS) -m agents tests/agents

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

# The site, below site/. Whatever a page links has to be there.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file .ci/mkdocs.yml

# The man page, of the commands.
man: $(VENV)/.installed
	$(BIN)/python docs/reference/man_page.py

bench: $(VENV)/.installed-bench
	$(BIN)/python tests/bench/run.py

wheel: $(VENV)/.installed
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "orchestrate needs Python 3.11 or newer: none of python3, python3.13, python3.12," \
		"python3.11 is. Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments:" \
		"install python3-venv (Debian, Ubuntu: apt-get install python3-venv) and try again" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@ $(VENV)/.installed
