# Two commands do all the set-up: `make run` and `make test`. Everything lives in .venv.
PYTHON ?= python3
BIN := .venv/bin
# On all cores: each worker begins with a part of the files, and takes from another's when it has done its own.
PYTEST := $(BIN)/python -m pytest --numprocesses logical --dist worksteal

.PHONY: run test lint lab bench validate verification study audit stories folk upgrade records readme helm notebooks clean test-fast
run: .venv/run.stamp
	$(BIN)/ojp-size --peak-rps 5000

test: .venv/test.stamp helm
	sh scripts/need_postgresql.sh
	sh scripts/need_prometheus.sh
	sh scripts/need_chromium.sh
	$(PYTEST) --ignore=tests/test_ending.py
	$(BIN)/python -m pytest tests/test_ending.py  # alone: it counts processes, and how soon they end

# Something of every part of the package, within a minute.
test-fast: .venv/test.stamp
	$(PYTEST) -m fast

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: .venv/test.stamp
	$(BIN)/jupyter lab notebooks/01_capacity_review.ipynb

# The table of docs/performance.md.
bench: .venv/bench.stamp
	$(BIN)/python -m tests.benchmarks

# Against real parts (docs/validation.md): 15 minutes, with Maven and a JDK.
validate: .venv/test.stamp
	sh scripts/need_postgresql.sh
	$(BIN)/python -m tests.real_server validate

# docs/verification.md, its figures and the results behind them, after a change that moves its numbers.
verification: .venv/test.stamp
	$(BIN)/python -m tests.verification

# How often the decision is wrong where the truth is known: data/study and docs/decision.md, after a change of the decision.
study: .venv/test.stamp
	$(BIN)/python -m tests.study

# The answers against a wide grid, and with ten seeds: data/audit and docs/decision.md. Hours; what is there already is kept,
# `$(BIN)/python -m tests.audit oltp-50` makes one again.
audit: .venv/test.stamp
	$(BIN)/python -m tests.audit
	$(BIN)/python -m tests.audit --precision high pgbench-2000 oltp-5000
	$(BIN)/python -m tests.audit --seeds 10 oltp-20 oltp-50 oltp-200 oltp-500 oltp-1500 oltp-5000 pgbench-200 tight-200

# docs/stories.md and its figures, after a change that moves its numbers.
stories: .venv/test.stamp
	$(BIN)/python -m scripts.make_stories

# README's answer, after a change that moves its numbers.
readme: .venv/test.stamp
	$(BIN)/python -m scripts.make_readme

# docs/folk.csv and docs/folk.md: half an hour or more; goes on where it was ended.
folk: .venv/test.stamp
	$(BIN)/python -m scripts.make_folk

# docs/upgrade.md, after a change that moves its numbers.
upgrade: .venv/test.stamp
	$(BIN)/python -m scripts.make_upgrade

# docs/records.md, after a change of a record.
records: .venv/test.stamp
	$(BIN)/python -m scripts.make_records

# The notebook's executed twin, after a change that moves its numbers.
notebooks: .venv/test.stamp
	$(BIN)/python scripts/make_notebooks.py

helm: .venv/test.stamp
	$(BIN)/python scripts/fetch_helm.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ .venv/run.stamp

.venv/bench.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@ .venv/run.stamp .venv/test.stamp

clean:
	rm -rf .venv .tools ojp-sizing
