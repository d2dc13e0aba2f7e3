# Two commands: `make demo` and `make test`. Each sets up .venv once.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Plain pip gives the CUDA build on Linux and also runs without a GPU. For the much smaller CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
PYTEST_ARGS ?= -n 2
STAMP := $(VENV)/.installed

export OMP_NUM_THREADS ?= 2
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test screenshots clean

help:
	@echo "make demo         environment, demo study on the embedded reference model, report"
	@echo "make test         ruff, mypy, import-linter, pytest"
	@echo "make setup        only the environment in $(VENV)"
	@echo "make screenshots  the pictures of docs/images, from the demo's report (needs Chromium)"
	@echo "make clean        remove what these commands made, except $(VENV)"

setup: $(STAMP)

# torch goes in first and is then held, so that nothing swaps its CPU or CUDA build for another.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) "$(TORCH)"
	$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $(VENV)/constraints.txt
	$(BIN)/python -m pip install --constraint $(VENV)/constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/clens run examples/quick.yaml

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

screenshots: demo
	$(BIN)/python tools/screenshots.py runs/quick docs/images
	$(BIN)/python tools/rater_screenshots.py docs/images/human

clean:
	rm -rf runs build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
