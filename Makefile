# Everything a stranger needs, each target from a fresh clone in any folder:
#   make demo    make test    make help
# PYTHON=python3.12 chooses an interpreter; LINESIDE_SYSTEM=no forbids installing Debian packages.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check format bench lean310 wheelhouse fresh-clone clean system system-test env env-dev

DEV := .venv-dev/bin/python
EXTRAS_DEMO := cpu,station
EXTRAS_DEV := cpu,station,export,dev
CONSTRAINTS ?= scripts/constraints-dev.txt
PYTEST_WORKERS ?= 2
MACHINES ?= aarch64-3.10,aarch64-3.12

help: ## Lists the targets.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

system:
	@sh scripts/system.sh demo

system-test:
	@sh scripts/system.sh test

env: system
	@sh scripts/env.sh .venv --extras $(EXTRAS_DEMO)

env-dev: system-test
	@sh scripts/env.sh .venv-dev --extras $(EXTRAS_DEV) --constraints "$(CONSTRAINTS)" --editable

demo: env ## Installs Lineside into .venv (no torch) and runs the main job on demo/.
	@.venv/bin/python -m lineside demo

test: env-dev ## Installs what the tests need into .venv-dev and runs all of them.
	@$(DEV) -m pytest -n $(PYTEST_WORKERS)
	@sh scripts/lean310.sh

test-fast: env-dev ## The tests without the slow ones (10 minutes at most).
	@$(DEV) -m pytest -n $(PYTEST_WORKERS) -m "not slow"

lean310: system ## The runtime's tests on Python 3.10 without torch or OpenCV (what JetPack 6 has).
	@sh scripts/lean310.sh

check: env-dev ## Format, lint, import rules and types.
	@sh scripts/check.sh $(DEV)

format: env-dev ## Formats the code and applies the safe lint fixes.
	@$(DEV) -m ruff format . && $(DEV) -m ruff check --fix .

bench: env-dev ## Measures the runtime beside its peers; table on the terminal, JSON in benchmarks/results/.
	@$(DEV) benchmarks/runtime.py

wheelhouse: ## Collects every wheel for a Jetson without a network: JetPack 6 and 7, in build/wheelhouse (MACHINES=…).
	@$$(sh scripts/find_python.sh) scripts/wheelhouse.py build/wheelhouse --for "$(MACHINES)"

fresh-clone: ## Clones HEAD to a temporary folder and runs make demo and make test there.
	@sh scripts/fresh_clone.sh

clean: ## Removes the virtual environments and everything built.
	rm -rf .venv .venv-dev .venv-310 build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
