# Everything one does, one target each. `make up` and `make test` need nothing before them.
#   make up PORT_BASE=21000            other ports      make up PORTS="kafka=9092 n1.postgres=5432"
#   make test REQUIRE=compose,kube     skips of those become failures
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install up down clean test lint check bench bench-frozen bench-kernels soak lab images compose-test kube-test

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
UP := $(if $(PORT_BASE),--port-base $(PORT_BASE)) $(foreach port,$(PORTS),--port $(port)) $(UPFLAGS)

# The first Python on PATH that is new enough.
FIND_PYTHON = for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(STAMP)  ## the virtual environment .venv with everything in it; quick when nothing changed

# The digest, not the time: a fresh clone or a touched file does not install again what is there.
$(STAMP): pyproject.toml
	@digest=$$(sha256sum pyproject.toml | cut -c1-64); \
	if [ "$$(cat $@ 2>/dev/null)" = "$$digest" ]; then touch $@; exit 0; fi; \
	python=$$($(FIND_PYTHON)); \
	[ -n "$$python" ] || { echo "Python 3.11 or later must be on PATH, but there is none" >&2; exit 1; }; \
	[ -x $(BIN)/python ] || { echo "making $(VENV) with $$python"; \
	  "$$python" -m venv $(VENV) || { echo "python -m venv must work (Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }; }; \
	echo "installing the wheels (a few minutes the first time, about 1.5 GB)"; \
	$(PIP) install -e ".[services,stack,kube,dev]" && echo "$$digest" > $@

up: install  ## start one sky and two nodes, wait until healthy, and say where to look
	@$(BIN)/orrery up $(UP)

down:  ## stop everything; the data stay
	@[ ! -x $(BIN)/orrery ] || $(BIN)/orrery down

clean:  ## stop everything and remove data, logs and passwords
	@[ ! -x $(BIN)/orrery ] || $(BIN)/orrery clean
	@rm -rf .orrery build

lint: install  ## style, imports
	@$(BIN)/ruff check . && $(BIN)/lint-imports --no-cache

test: install  ## everything, in parts; skips and their reasons last (REQUIRE=compose,kube forbids those)
	@$(BIN)/python tests/run.py $(PARTS)

check: lint  ## what one runs before a commit: style and the tests that need no server
	@$(BIN)/python tests/run.py tidy kernels services swaps contracts simulation

lab:  ## the sealed lab alone: an empty environment with numpy, numba, pyarrow, and its tests
	@rm -rf build/lab && mkdir -p build && $$($(FIND_PYTHON)) -m venv build/lab
	@build/lab/bin/python -m pip --disable-pip-version-check -q install ".[dev]"
	@build/lab/bin/python -m pytest -q -n 2 --dist loadgroup -o pythonpath=. tests/kernels

bench: install  ## speed of the road, rivals in the same run, ratios printed
	@$(BIN)/python -m tests.benchmarks.road $(ARGS)

bench-frozen: install  ## speed of snapshots, dominoes, memo, curves, replay; rivals in the same run
	@$(BIN)/python -m tests.benchmarks.frozen $(ARGS)

bench-kernels: install  ## speed of the kernels, rivals in the same run
	@$(BIN)/python -m tests.benchmarks.kernels $(ARGS)

soak: install  ## long counts of kills and of simulated schedules; the seed is printed
	@ORRERY_TEST_SOAK=1 $(BIN)/python tests/run.py simulation system
	@ORRERY_TEST_SOAK=1 $(BIN)/python -m pytest -q -s tests/kernels/test_accuracy.py

images:  ## build our images and list all by digest in k8s/images/images.env (REGISTRY=… or INTO=…)
	@k8s/images.sh

compose-test: install  ## docker-compose.yml on a real engine (needs root)
	@REQUIRE=compose $(BIN)/python -m pytest -q -m compose tests/compose

kube-test: install  ## the manifests on a real control plane and kubelet, and what it measured (needs root)
	@tests/kube/build.sh >/dev/null
	@REQUIRE=kube $(BIN)/python -m pytest -q -rP -m kube tests/kube
