# `make` alone lists what there is. Everything happens in .venv, which `make setup` builds; see requirements/setup.sh.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
.NOTPARALLEL:
unexport PYTHONPATH PYTHONHOME
export PATH := $(CURDIR)/.venv/bin:$(PATH)

UV ?= uv
UV_COMPILE = "$(UV)" pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	--generate-hashes --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

.PHONY: help setup demo test test-full test-slurm test-slurm-full slurm-check lint bench docs lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install everything needed; PYTHON=... chooses the interpreter
	@requirements/setup.sh

demo: setup ## run the demo experiment, then print its scores and where its report is
	@snakemake --profile profiles/local --quiet host progress reason
	dl4ds scores results/demo

test: setup ## the tests: every feature, few combinations
	@requirements/browser.sh
	pytest -q -n 2 --dist loadgroup -m 'not full' --ignore tests/slurm $(PYTEST_ARGS)

test-full: setup ## all tests: every combination, long runs
	@requirements/browser.sh
	pytest -q -n 2 --dist loadgroup --ignore tests/slurm $(PYTEST_ARGS)

test-slurm: setup ## the tests on a real, throw-away SLURM cluster on this machine
	@requirements/slurm.sh
	pytest -q -m 'not full' tests/slurm $(PYTEST_ARGS)

test-slurm-full: setup ## the same with every fault
	@requirements/slurm.sh
	pytest -q tests/slurm $(PYTEST_ARGS)

slurm-check: setup ## what to run first on a new cluster: does it fit profiles/slurm? CHECK_ARGS='--profile ...'
	@python -m dl4ds_core.cluster.check $(CHECK_ARGS)

lint: setup ## format, style, types, direction of imports, workflow, documentation
	@set -x
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy src scripts requirements
	lint-imports --no-logo
	snakemake --lint
	mkdocs build --strict --quiet

bench: setup ## the benchmarks
	@for script in tests/benchmark/bench_*.py; do
		echo "== $$script"
		python "$$script"
	done

docs: setup ## renew the key table of the configuration, then render the documentation into site/
	@dl4ds schema
	mkdocs build --strict

lock: ## pin the versions that pyproject.toml allows (needs uv); UPGRADE=1 takes the newest
	@$(UV_COMPILE) pyproject.toml --all-extras --group build --group horovod --no-emit-package horovod \
		--output-file requirements/lock.txt
	$(UV_COMPILE) --group build --constraint requirements/lock.txt --output-file requirements/build.txt
	$(UV_COMPILE) --group horovod --no-deps --output-file requirements/horovod.txt
	python3 requirements/pin_environments.py

clean: ## remove the environment, caches and the rendered documentation; results stay
	@rm -rf .venv .venv-setup*.log site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src scripts rules tests requirements -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
