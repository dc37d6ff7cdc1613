# The front door. `make demo` shows the main job, `make test` is what CI runs.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
FOUR := --numprocesses 4 --dist loadscope --no-loadscope-reorder # tests wait for servers: four fill two cores
QUICK := not slow and not long
export OMP_WAIT_POLICY := passive

.PHONY: demo check units-method units-stages test test-slow test-slow-runs test-slow-servers test-slow-rest golden mutation lint docs repro bench clean

demo: .venv/runtime-installed ## align the shapes world under a local Prefect server and show the result
	$(BIN)/g2rpo demo

check: .venv/dev-installed ## lint, types, import contracts, unit tests of the method and of the stages
	$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync lint units-method units-stages

units-method units-stages: .venv/dev-installed
units-method:
	$(BIN)/python -m pytest -m '$(QUICK)' tests/test_house.py tests/g2rpo --ignore-glob='tests/g2rpo/test_*.py'
units-stages: # with the method's top files, so that both halves take alike
	$(BIN)/python -m pytest -m '$(QUICK)' tests/g2rpo/test_*.py tests/stages

test: lint ## lint, types, import contracts, tests
	$(BIN)/python -m pytest $(FOUR)

test-slow: test-slow-runs test-slow-servers test-slow-rest ## the longer proofs, in parts of at most 90 minutes

RUNS := $(addprefix tests/flows/,training guards cli upkeep export report)
SERVERS := $(addprefix tests/flows/,services prefect_flows runners doctor reward_server)

test-slow-runs: .venv/dev-installed ## kills, damage, guards, plans, the command line
	$(BIN)/python -m pytest $(FOUR) -m slow $(RUNS)

test-slow-servers: .venv/dev-installed ## services, pages in a browser, the demo, Ray
	$(BIN)/python -m pytest $(FOUR) -m slow $(SERVERS)

test-slow-rest: .venv/dev-installed ## DVC, comparisons, the tutorial, benchmarks, hostile inputs, and all else
	$(BIN)/python -m pytest $(FOUR) -m slow $(addprefix --ignore=,$(RUNS) $(SERVERS))

mutation: .venv/dev-installed ## break 60 functions one at a time; the test file of the module has to turn red
	$(BIN)/python tests/mutation/run.py --seed $(or $(SEED),0) --count $(or $(COUNT),60)

golden: .venv/dev-installed ## record the golden runs anew; REASON="why numbers are to change"
	$(BIN)/python tests/golden/record.py "$$REASON"

lint: .venv/dev-installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pyrefly check --summary=none

docs: .venv/dev-installed ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

repro: .venv/runtime-installed ## the pipeline under DVC: what a changed parameter reaches, and no more
	test ! -f outputs/run/run.json || $(BIN)/g2rpo adopt # DVC clears it, and a lost store would begin at round 0
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

bench: .venv/dev-installed ## the benchmarks; each prints a JSON object as its last line
	$(BIN)/python benchmarks/engine.py
	$(BIN)/python benchmarks/granularities.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/runners.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/reward_server.py
	$(BIN)/python benchmarks/policy.py --policy flux1 --size tiny --random --seconds 8 --micro-batch 32,96,288

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/runtime-installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) torch --editable .
	touch $@

.venv/dev-installed: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) torch --editable '.[dev]'
	touch $@ .venv/runtime-installed

clean:
	rm -rf .venv outputs build site *.egg-info
