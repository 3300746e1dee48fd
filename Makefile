# SPDX-License-Identifier: Apache-2.0
# The front door. `make help` lists the targets; each does its own set-up and is quick the second time.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules
.SUFFIXES:

PYTHON ?= python3
PY     := .venv/bin/python
VENV   := .venv/.ok
export PATH := $(CURDIR)/.venv/bin:$(PATH):/usr/sbin:/sbin
# Tests find each other's files without writing byte code into the tree.
export PYTHONDONTWRITEBYTECODE := 1

# Folders with tests; one that does not exist yet is left out.
RTL_DIRS  := rtl-tests
UNIT_DIRS := $(wildcard host/tests guestlib/tests firmware/tests tools/tests)
E2E_DIRS  := $(wildcard tests)
# Two workers on two cores; each then compiles with one job.
PYTEST    := $(PY) -m pytest -q
PARALLEL  := NK_JOBS=1 $(PYTEST) -n 2 --dist worksteal

# $(call run,TARGET,COMMAND): run, and on failure say how to repeat just that.
run = { $(2) ; } || { echo "make $(1) FAILED. Repeat with:  make $(1)" >&2; exit 1; }
# Summary files for the last lines of `make test`.
junit = --junitxml=build/junit/$(1).xml

.PHONY: help
help: ## List the targets (default)
	@echo "NetKernel-HW. Start with:  make demo  |  make test  |  make quick"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' Makefile

# ---------------------------------------------------------------------------------------- set-up

.PHONY: venv apt apt-rtl apt-e2e
venv: $(VENV) ## Python environment in .venv, from requirements.lock
$(VENV): requirements.lock pyproject.toml tools/venv.sh
	@echo "setting up .venv"
	@$(call run,venv,PYTHON=$(PYTHON) tools/venv.sh >/dev/null)
	@touch $@

apt: $(VENV) ## Check for (as root: install) the Debian packages that are needed
	@tools/apt.sh all
apt-rtl: $(VENV)
	@tools/apt.sh rtl
apt-e2e: $(VENV)
	@tools/apt.sh e2e

# -------------------------------------------------------------------------------- generated files

.PHONY: gen gen-check docs docs-check
gen: $(VENV) ## Generate everything that has one source (ABI, record layouts)
	@$(call run,gen,for g in tools/gen_*.py; do $(PY) $$g || exit 1; done)

gen-check: $(VENV)
	@for g in tools/gen_*.py; do $(PY) $$g --check || \
	  { echo "committed output differs from its source. Repeat with:  make gen" >&2; exit 1; }; done

docs: apt-rtl gen ## Write the generated parts of docs/ (ABI reference, RTL tables)
	@$(call run,docs,$(PY) tools/rtl_docs.py)

docs-check: apt-rtl
	@$(PY) tools/rtl_docs.py --check || \
	  { echo "pages differ from the RTL. Repeat with:  make docs" >&2; exit 1; }

# ----------------------------------------------------------------------------------------- checks

.PHONY: lint fmt c-lib
lint: apt-rtl gen-check docs-check ## All static checks: RTL, Python, generated files, licences
	@$(call run,lint,$(PY) tools/lint.py)

fmt: $(VENV) ## Format Python
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

c-lib: $(VENV) # GuestLib has a Makefile of its own
	@$(call run,c-lib,if [ -f guestlib/Makefile ]; then $(MAKE) -C guestlib; fi)

.PHONY: rtl unit e2e t
rtl: apt-rtl ## cocotb tests of every RTL module
	@mkdir -p build/junit
	@$(call run,rtl,$(PARALLEL) -m "not perf" $(RTL_DIRS) $(call junit,rtl))

unit: apt-rtl c-lib ## Tests of the host package, GuestLib and the tools
	@mkdir -p build/junit
	@if [ -n "$(UNIT_DIRS)" ]; then \
	  $(call run,unit,$(PYTEST) -m "not e2e and not perf" $(UNIT_DIRS) $(call junit,unit)); fi

e2e: apt twin c-lib ## End-to-end tests: programs, twin, link with faults
	@mkdir -p build/junit
	@if [ -n "$(E2E_DIRS)" ]; then $(call run,e2e,$(PYTEST) -m "not perf" $(E2E_DIRS) $(call junit,e2e)); fi

t: apt-rtl ## One test: make t T='rtl-tests/lib/test_nk_skid.py::test_nk_skid[8]' (NK_SEED=, NK_WAVES=1)
	@$(PY) -m pytest -x -s '$(T)'

.PHONY: test quick
test: ## Everything that CI runs (under 30 minutes on 2 cores)
	@rm -rf build/junit
	@$(MAKE) lint
	@$(MAKE) unit
	@$(MAKE) rtl
	@$(MAKE) e2e
	@$(PY) tools/test_summary.py build/junit

quick: apt-rtl gen-check c-lib ## A verdict in about two minutes: lint, unit and the quick RTL tests
	@rm -rf build/junit && mkdir -p build/junit
	@$(call run,lint,$(PY) tools/lint.py)
	@$(call run,quick,$(PARALLEL) -m "not slow and not e2e and not perf" $(UNIT_DIRS) $(RTL_DIRS) $(call junit,quick))
	@$(PY) tools/test_summary.py build/junit

.PHONY: mutants bench bench-interop soak nightly twin demo
mutants: apt-rtl ## Break the RTL on purpose, one break at a time: each must be caught by its test
	@$(call run,mutants,$(PY) tools/mutants.py)

bench: apt twin c-lib ## Measure; figures go to build/bench/results.json
	@$(call run,bench,$(PYTEST) -m perf $(RTL_DIRS) $(UNIT_DIRS) $(E2E_DIRS))
	@$(PY) tools/bench.py show plot

bench-interop: apt twin c-lib ## Goodput beside Linux on one link model, cell by cell (takes an hour)
	@$(call run,bench-interop,$(PY) tests/interop/against_linux.py)

soak: apt twin c-lib ## Random traffic for an hour (NK_SOAK_S=, NK_SEED=); every book must balance
	@$(call run,soak,$(PY) tests/soak/run.py)

nightly: ## What CI has no time for: every mutant, a million NQEs of noise, the soak, goodput beside Linux
	@$(MAKE) mutants
	@NK_FUZZ_NQES=1000000 $(MAKE) t T=rtl-tests/core/test_nk_core_fuzz.py
	@$(MAKE) soak
	@$(MAKE) bench-interop

twin: apt-rtl ## Build the Verilated card (a shared library)
	@$(call run,twin,$(PY) -m netkernel.twin.build)

demo: apt twin c-lib ## Unmodified curl and nginx over the card; shows what happened
	@$(call run,demo,$(PY) tools/demo.py)

# ---------------------------------------------------------------------------------------- cleaning

.PHONY: clean distclean
clean: ## Remove what was built (keeps .venv)
	rm -rf build .pytest_cache .mypy_cache .ruff_cache
	@if [ -f guestlib/Makefile ]; then $(MAKE) -C guestlib clean; fi

distclean: clean ## Remove .venv too
	rm -rf .venv host/netkernel_hw.egg-info
