# The only front door. `make check` is what CI runs (.ci/run).
#
# EXAMPLE=breast-cancer      which example `make demo` runs (default digits); others: digits-keras,
#                            digits-hf, digits-sklearn, merge-methods, nature
# SNS=3                      how many SNs it has (default 1); 3 survive the loss of any one
# FLOW=swop                  lets SWOPs start the SL/ML pairs, as the example's SWCI script tells them
# RUN_DIR=path               where the demo leaves its results (default runs/<time>-<example>; up-swop: runs/compose-swop; up: runs/compose)
# WHEELS=path                folder of wheels for `make images`, e.g. a CPU build of torch
# PYTHON=python3.12          which Python makes .venv (default python3.11 where it works)
# PIP_EXTRA_INDEX_URL, ...   pip's own variables work, e.g. to choose a CPU-only build of torch

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

EXAMPLE ?= digits
PYTEST_ARGS ?=
PY := .venv/bin/python
STAMP := .venv/.installed
GROUPS := sn sl license swci swop compose examples dev
PROTOC := .cache/protoc/bin/python
SWOP_DIR := $(abspath $(or $(RUN_DIR),runs/compose-swop))
SWOP_FLOW := SWARM_RUN_DIR=$(SWOP_DIR) SWARM_UID=$$(id -u) SWARM_GID=$$(id -g) docker compose -f compose/compose.swop.yaml

FIRST_IMAGE := $(or $(SWARM_IMAGES),swarm-learning)/tools:$(or $(SWARM_TAG),0.1.0)
NEEDS_IMAGES := test -n "$(SWARM_PULL)" || docker image inspect $(FIRST_IMAGE) >/dev/null || { \
    echo "Our images are not here, and never come from a public registry: make images (docs/images.md)"; exit 1; }

# compose.yaml runs as you; what differs between examples stands here
UP_DIR := $(abspath $(or $(RUN_DIR),runs/compose))
UP_digits := ML_ARGUMENTS="--organisations 4"
UP_digits-keras := ML_ARGUMENTS= ML_IMAGE=ml-keras
UP_breast-cancer := ML_ARGUMENTS= SWARM_PAIRS=3 SWARM_FOURTH=0 MIN_PEERS=$(or $(MIN_PEERS),2)
UP := SWARM_RUN_DIR=$(UP_DIR) SWARM_UID=$$(id -u) SWARM_GID=$$(id -g) EXAMPLE=$(EXAMPLE) $(UP_$(EXAMPLE)) docker compose -f compose/compose.yaml \
    $(if $(SWARM_LICENSE_PORT)$(SWARM_SWCI_PORT),-f compose/compose.ports.yaml)

.NOTPARALLEL:
.PHONY: help setup demo images up down compose-demo up-swop down-swop swarm test test-parallel test-swarm test-containers matrix check lint types imports generated fmt contracts proto freeze clean

help:            ## list targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 24

setup: $(STAMP)  ## make .venv with all that is needed (the other targets do so by themselves)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(PY) || { \
	    python="$(PYTHON)"; \
	    for each in $${python:-python3.11 python3 python3.12 python3.13}; do \
	        if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	        then found=$$each; break; fi; \
	    done; \
	    test -n "$${found:-}" || { echo "setup: no Python 3.11 or newer found; name one with PYTHON=..."; exit 1; }; \
	    echo "setup: making .venv with $$($$found --version)"; \
	    $$found -m venv .venv; }
	@echo "setup: installing packages (the first time this takes a few minutes)"
	@$(PY) -m pip install -qq -U --disable-pip-version-check 'pip>=25.1'
	@$(PY) -m pip install -qq -c constraints.txt $(GROUPS:%=--group %)
	@$(PY) -m pip install -qq --no-deps -e .
	@touch $@
	@echo "setup: done"

demo: setup      ## train a swarm of real processes on real data; EXAMPLE=digits, breast-cancer...
	@$(PY) -m examples.run $(EXAMPLE) $(if $(FLOW),--flow $(FLOW)) $(if $(SNS),--sns $(SNS)) $(if $(RUN_DIR),--run-dir $(RUN_DIR))

images: setup    ## build the container images (docs/images.md); WHEELS=folder
	$(PY) -m compose.images $(if $(WHEELS),--wheels $(WHEELS))

compose-demo:    ## the swarm in containers until its result is known, after `make images`; EXAMPLE=digits-keras, breast-cancer
	@$(NEEDS_IMAGES)
	@mkdir -p $(UP_DIR)
	@code=0; $(UP) up --exit-code-from result || code=$$?; \
	if [ $$code -ne 0 ]; then mkdir -p $(UP_DIR)/logs; for each in $$($(UP) ps --all --quiet); do \
	    set -- $$(docker inspect -f '{{index .Config.Labels "com.docker.compose.service"}} {{.State.ExitCode}}' $$each); \
	    docker logs $$each >$(UP_DIR)/logs/$$1.log 2>&1; \
	    if [ $$2 -ne 0 ]; then echo "--- $$1: exit code $$2. The end of $(UP_DIR)/logs/$$1.log:"; tail -n 12 $(UP_DIR)/logs/$$1.log; fi; \
	done; fi; \
	$(UP) down --volumes >/dev/null 2>&1 || echo "compose-demo: make down again, something is left"; \
	echo "compose-demo: results are in $(UP_DIR)/results, exit code $$code"; exit $$code

up:              ## start the same in the background; SWARM_LICENSE_PORT=5814 SWARM_SWCI_PORT=30306 publish ports
	@$(NEEDS_IMAGES)
	@mkdir -p $(UP_DIR)
	@$(UP) up --detach --wait
	@echo "The swarm runs; its results will be in $(UP_DIR)/results"
	@echo "  how it goes:     docker compose -f compose/compose.yaml logs --follow result      (also license, sn-1, sl-1, ml-1, ...)"
	@echo "  who runs:        docker compose -f compose/compose.yaml ps --all"
	@echo "  operators:       docker compose -f compose/compose.yaml exec -e SWCI_MODE=CLI swci python3 -m services.swci"
	@echo "  the end:         docker wait $(or $(COMPOSE_PROJECT_NAME),swarm)-result      prints 0 if all went well"
	@echo "  remove it all:   make down"

down:            ## remove the containers, volumes and network of `make up`; RUN_DIR stays
	@$(UP) down --volumes --remove-orphans

up-swop:         ## the SWCI and SWOP flow in containers, after `make images`; SNS=3, RUN_DIR=path
	@$(NEEDS_IMAGES)
	@mkdir -p $(SWOP_DIR)
	@$(SWOP_FLOW) $(if $(filter 3,$(SNS)),--profile three) up --exit-code-from swci

down-swop:       ## remove its containers, volumes, network and what its SWOPs built; RUN_DIR stays
	@$(SWOP_FLOW) --profile three stop
	@for uid in $$(cat $(SWOP_DIR)/nodes/swop-*/.swop-*/uid 2>/dev/null); do \
	    docker ps -aq --filter label=swarm.swop=$$uid | xargs -r docker rm -fv >/dev/null; \
	    docker volume ls -q --filter label=swarm.swop=$$uid | xargs -r docker volume rm >/dev/null; \
	    docker images -q --filter label=swarm.swop=$$uid | sort -u | xargs -r docker rmi -f >/dev/null; \
	done
	@$(SWOP_FLOW) --profile three down
	@docker volume ls -q --filter label=com.docker.compose.project=$(or $(COMPOSE_PROJECT_NAME),swarm-swop) | xargs -r docker volume rm >/dev/null

swarm: setup     ## swarm.pyz: the `swarm` command as one file, for hosts without this folder (docs/swarm-command.md)
	@$(PY) -m compose.operate.pack swarm.pyz

test: test-parallel test-swarm  ## all tests; those that start whole swarms one at a time, after the others
	@echo "test: the tests of the container images are apart: make images, make test-containers"

test-parallel: setup  # two at a time
	$(PY) -m pytest -n 2 --dist loadgroup -m "not swarm and not docker" $(PYTEST_ARGS)

test-swarm: setup  # whole swarms
	$(PY) -m pytest -m swarm $(PYTEST_ARGS)

test-containers: setup  ## tests of the images, after `make images`; minutes
	$(PY) -m pytest -m docker -rs $(PYTEST_ARGS)

matrix: setup    ## the client wheel on Python 3.10 to 3.13, with old and new protobuf and numpy
	$(PY) -m tests.matrix

check: setup lint types imports generated matrix test  ## lint, types, imports, generated files, tests

lint: setup      ## ruff
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types: setup     ## mypy --strict
	$(PY) -m mypy

imports: setup   ## architecture contracts (import-linter)
	.venv/bin/lint-imports

generated: setup ## committed contract artifacts match their sources (needs npm)
	$(PY) -m contracts.compile --check

fmt: setup       ## format and mend what can be mended
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

contracts: setup ## compile contracts/src into contracts/artifacts (needs npm)
	$(PY) -m contracts.compile

# An old protoc on purpose: what it generates loads under every protobuf from 3.20 to the newest.
proto: setup     ## generate swarmlearning/wire/swarm_pb2.py from swarm.proto
	@test -x $(PROTOC) || { $(PY) -m venv .cache/protoc; \
	    $(PROTOC) -m pip install -qq grpcio-tools==1.51.3 'protobuf<5' 'setuptools<81'; }
	$(PROTOC) -m grpc_tools.protoc -I . --python_out=. --pyi_out=. swarmlearning/wire/swarm.proto

freeze: setup    ## pin in constraints.txt what is installed now
	@{ echo "# What the dependency groups of pyproject.toml pull in, pinned. Made by: make freeze"; \
	    $(PY) -m pip freeze --exclude-editable | sed -E '/^#/d; /@ /d; s/\+cpu$$//'; } > .constraints.tmp
	@mv .constraints.tmp constraints.txt

clean:           ## remove caches and build leftovers; .venv and runs/ stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache dist build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
