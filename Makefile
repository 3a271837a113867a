# `make help` lists the targets. Everything runs in .venv, which is made on first use; only Python and make are needed.
SHELL := /bin/bash
PYTHON ?= python3
EXTRA ?= cpu
COLLECTION ?= stdlib
T ?= all
SCALE ?= full
PEERS_CHOSEN ?= colbert-ai,fast-plaid,tachiom,xtr-warp-rs
SIZES ?= 50000,200000,1000000
NOTEBOOKS ?= on
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed-$(EXTRA)

.PHONY: help demo reproduce agree speed growth torture gpu test test-slow test-slurm cluster cluster-million lint docs install clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## create .venv and install (EXTRA=cpu or gpu)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else f"Python 3.10, 3.11 or 3.12 is needed, $(PYTHON) is {v[0]}.{v[1]}; name another with: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(VENV) # faiss-cpu and faiss-gpu must not be installed together
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRA),sweep,dev]"
	@touch $@

demo: install ## the main job on the embedded collection (COLLECTION=stdlib or scifact): table and plots in outputs/
	$(PY) -m colbertv2 +demo=$(COLLECTION)

reproduce: install ## the papers' tables, published next to measured values (T=all or a table, SCALE=small, ARGS="row=… hours=… and overrides")
	$(PY) -m colbertv2 reproduce $(T) scale=$(SCALE) $(ARGS)

agree: install ## compare with colbert-ai, PyLate, fast-plaid, xtr-warp-rs and sentence-transformers: table in experiments/results/agree.md
	$(PY) -m experiments.agree

speed: install ## search beside other engines (PEERS_CHOSEN=colbert-ai,tachiom, or none: PEERS_CHOSEN=): experiments/results/speed_search.md
	$(PY) -m experiments.speed.search --peers "$(PEERS_CHOSEN)"

growth: install ## build and search generated collections (SIZES=50000,200000,1000000; 16 GB of disk): experiments/results/growth.md
	$(PY) -m experiments.speed.growth --sizes $(SIZES)

torture: install ## kill, damage and misuse the pipeline (PARTS="kills damage"): experiments/results/torture.md
	$(PY) -m experiments.torture $(PARTS)

gpu: install ## does a GPU compute what the CPU does, and how fast (with EXTRA=gpu): experiments/results/gpu.md
	$(PY) -m experiments.gpu

test: install ## the test suite, on up to 4 cores; prints the ten slowest
	$(PY) -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal --durations 10

test-slow: install ## the tests that take minutes (SciFact, where it is at hand)
	$(PY) -m pytest -q -m slow

test-slurm: install ## the tests on a real Slurm of two nodes on this machine, installed if need be (Debian or Ubuntu, as root)
	command -v slurmctld > /dev/null || PATH=$$PATH:/usr/sbin command -v slurmctld > /dev/null || (apt-get update -qq && apt-get install -y -qq slurm-wlm munge)
	$(PY) -m pytest -q -rs tests/cluster

cluster: install ## kill tasks and daemons of a real Slurm on this machine: experiments/results/cluster.md
	$(PY) -m experiments.cluster.failures

cluster-million: install ## a million documents on two nodes and in one process: experiments/results/cluster_million.md
	$(PY) -m experiments.cluster.million

lint: install ## ruff and pyright
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright --pythonpath $(PY)

docs: $(INSTALLED)-docs ## the site in docs/_build/html, every warning an error (NOTEBOOKS=off: show notebooks without running them)
	NOTEBOOKS=$(NOTEBOOKS) $(PY) -m sphinx --quiet --fail-on-warning --keep-going --jobs auto docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(INSTALLED)-docs: $(INSTALLED)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRA),sweep,dev,docs]"
	@touch $@

clean: ## remove .venv, the peers' environments, the built site and caches; artifacts and outputs stay
	rm -rf $(VENV) .peers docs/_build .pytest_cache .ruff_cache *.egg-info
