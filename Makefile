# Each target sets up what it needs; the environment is made once, from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PROFILE ?= quick
ONLY ?=
SEEDS ?= 0
JOBS ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# Quick runs and tests stay on this machine: whatever tries to reach out fails at once instead of slowly.
OFFLINE := HTTP_PROXY=http://127.0.0.1:9 HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=127.0.0.1,localhost \
           http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 no_proxy=127.0.0.1,localhost
# Two cores take three workers, since one of them often waits; TensorFlow is fastest with one thread in each.
# A file stays on one worker, which makes its fixtures once. The last notebooks take longest, so they begin.
POOL := -n 3 --dist loadfile --no-loadscope-reorder
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout=120
CHOSEN = $(or $(foreach word,$(ONLY),$(wildcard notebooks/$(word)*.ipynb)),$(shell ls -r notebooks/[0-9]*.ipynb))
TESTING := $(OFFLINE) TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 COMPANION_PROFILE=quick COMPANION_DATA=sample COMPANION_RUNS="$$PWD/build/test" WANDB_MODE=offline

.DEFAULT_GOAL := help
.PHONY: help run test lint unit nbval lab data render evidence colab site slides new results map browser bench prove lock clean

help:  ## list these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

# A missing or dangling Python, as after an upgrade of the machine's, sets up again.
$(READY): requirements.lock $(shell test -x $(BIN)/python || echo FORCE)
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11, 4) <= sys.version_info < (3, 14))' || \
		{ echo "Python 3.11 (3.11.4 or newer), 3.12 or 3.13 is needed. Name it: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@"$(PYTHON)" tools/environment.py

FORCE:

.PRECIOUS: $(READY)  # else Ctrl-C in an update that has changed nothing removes the file

run: $(READY)  ## execute the notebooks, in the quick profile and offline; PROFILE=live, ONLY="01 05", SEEDS="0 1", JOBS=1
	@exec env $(if $(filter quick,$(PROFILE)),$(OFFLINE)) $(BIN)/python tools/run_notebooks.py \
		--profile $(PROFILE) --only "$(ONLY)" --seeds "$(SEEDS)" --jobs "$(JOBS)"

test: lint  ## ruff, then unit tests, contract tests and nbval over all notebooks in one pool; offline
	@rm -rf build/test
	@$(TESTING) $(BIN)/python -m pytest $(POOL) $(NBVAL) $(CHOSEN) tests

lint: $(READY)
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .

unit: $(READY)
	@$(TESTING) $(BIN)/python -m pytest $(POOL) tests

nbval: $(READY)
	@rm -rf build/test
	@$(TESTING) $(BIN)/python -m pytest $(POOL) $(NBVAL) $(CHOSEN)

lab: $(READY)  ## open JupyterLab in notebooks/; ARGS="--no-browser --ip=0.0.0.0" are its own options
	@exec $(BIN)/python -m jupyterlab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

data: $(READY)  ## download the real data sets into data/cache, checked and resumed
	@$(BIN)/python -m utils.downloads

render: $(READY)  ## execute in the live profile and store the outputs in notebooks/; ONLY="01"
	@$(BIN)/python tools/run_notebooks.py --profile live --store --only "$(ONLY)"

evidence: PROFILE = live
evidence: SEEDS = 0 1 2 3 4
evidence: $(READY)  ## run with five seeds, and keep what each found for the notebook to read; ONLY="01"
	@$(BIN)/python tools/run_notebooks.py --evidence --profile $(PROFILE) --only "$(ONLY)" --seeds "$(SEEDS)"

colab: $(READY)  ## stamp badges and set-up cells for your fork: REPO=owner/name
	@$(BIN)/python tools/stamp_colab.py "$(REPO)"

site: $(READY)  ## build the site from the stored outputs: build/site/index.html
	@$(BIN)/python tools/build_site.py

slides: $(READY)  ## make a deck of slides from each notebook: build/slides/index.html
	@$(BIN)/python tools/build_slides.py

new: $(READY)  ## write the skeleton of another notebook: name=diffusion
	@$(BIN)/python tools/new_notebook.py "$(name)"

results: $(READY)  ## copy the numbers of the last quick and full runs into docs/results.md
	@$(BIN)/python tools/results.py

map: $(READY)  ## draw the map of utils from its imports, and compare it with the README
	@$(BIN)/python tools/import_map.py

browser: $(READY)  ## test site, slides and JupyterLab in a headless Chromium; two or three minutes
	@$(TESTING) COMPANION_BROWSER=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/test_site.py tests/test_lab.py -rs

bench: $(READY)  ## print speeds as ratios (tests/benchmarks), never part of a test run
	@for file in tests/benchmarks/[a-z]*.py; do PYTHONPATH=. $(BIN)/python $$file || exit 1; done

prove: $(READY)  ## what dies, hangs or fills up (docs/durability.md), 2 to 3 h; WHAT="network kills", ONLY="01 05"
	@for name in $(or $(WHAT),network kills repeats devices versions cluster); do \
		PYTHONPATH=. $(BIN)/python tests/proofs/$$name.py $(ONLY) || failed=1; done; exit $${failed:-0}

lock: $(READY)  ## rewrite requirements.lock from requirements.txt and pyproject.toml
	@echo "# Made by \`make lock\` from pyproject.toml and requirements.txt; what make and CI install." > requirements.lock.new
	@$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11.4 --extra dev --extra site pyproject.toml \
		--no-header --no-annotate >> requirements.lock.new || { rm requirements.lock.new; exit 1; }
	@mv requirements.lock.new requirements.lock

clean:  ## remove the environment, builds and runs; data/cache stays
	rm -rf $(VENV) build runs .pytest_cache .ruff_cache
