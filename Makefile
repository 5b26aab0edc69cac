# Everything a newcomer needs; `make` alone lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check train export benchmark clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## install impasto and all it needs into .venv

demo: $(READY) ## train a quick style, paint a picture with it: PHOTO=, STYLE_IMAGE=
	$(BIN)/python scripts/demo.py

# Most tests wait for one thread; those of a file share what they have built.
test: $(READY) ## run the tests: offline, on the CPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

check: $(READY) ## lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

train: $(READY) ## train with ARGS="style=starry_night"
	$(BIN)/python train.py $(ARGS)

export: $(READY) ## export CKPT=network.safetensors to ONNX, beside it
	$(if $(CKPT),,$(error make export needs CKPT=network.safetensors))
	$(BIN)/python scripts/export_onnx.py "$(CKPT)" "$(CKPT:.safetensors=.onnx)"

benchmark: $(READY) ## measure training, loading, painting and filling
	$(BIN)/python scripts/benchmark.py training
	$(BIN)/python scripts/benchmark.py loader
	$(BIN)/python scripts/benchmark.py inference
	$(BIN)/python scripts/benchmark.py filling

clean: ## remove .venv and caches; runs and pictures stay
	rm -rf $(VENV) .virtualenv .mypy_cache .ruff_cache .pytest_cache

# Debian's python3 comes without venv: then virtualenv, from a folder of its own, does the same.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "impasto needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version): make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python -a -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) 2>/dev/null || \
		{ $(PYTHON) -m pip install --quiet --target .virtualenv --constraint constraints.txt virtualenv && \
		  PYTHONPATH=.virtualenv $(PYTHON) -m virtualenv --clear --quiet $(VENV); }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
