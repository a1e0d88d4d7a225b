# Two commands matter: `make demo` and `make test`. Both set up what they need.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo tour test lint bench reference clean
.DEFAULT_GOAL := help

help: ## List these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt scripts/setup
	scripts/setup $(VENV)
	@touch $@

demo: $(READY) ## Serve the example app; Ctrl-C ends it
	scripts/demo $(BIN)

tour: $(READY) ## The same story told by itself, in under a minute
	$(BIN)/python scripts/tour.py

test: $(READY) ## Every test, on real parts
	scripts/system nginx redis-server chromium
	$(BIN)/python -m pytest

lint: $(READY) ## Style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/reference.py --check
	$(BIN)/python -m pytest -q tests/test_house.py

bench: $(READY) ## Speed beside the peers, as ratios
	$(BIN)/pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python benchmarks/edge.py
	$(BIN)/python benchmarks/stack.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/enqueue.py

reference: $(READY) ## Regenerate the reference pages
	$(BIN)/python scripts/reference.py

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
