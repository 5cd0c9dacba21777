# Two commands set everything up on a fresh machine: `make demo` and `make test`. They need Python >= 3.11 and nothing else.

PYTHON ?= python3
# The CUDA lock where a driver is, the CPU lock elsewhere; `make demo LOCK=cpu` decides otherwise.
LOCK ?= $(if $(shell command -v nvidia-smi),cuda,cpu)
VENV := .venv
INSTALLED := $(VENV)/installed-$(LOCK)
BIN := $(VENV)/bin
export PYTHONUNBUFFERED := 1

.PHONY: help install demo test bench lint docs dag schema lock cluster-inventory cluster-check

help:  ## show this list
	@sed -nE 's/^([a-z-]+):.*##/  make \1 \t/p' $(firstword $(MAKEFILE_LIST))

install: $(INSTALLED)  ## make .venv from the pinned lock, with the library; the other targets do it by themselves

demo: $(INSTALLED)  ## run the default experiment and print where its report lies
	$(BIN)/snakemake
	@echo "The report: $(CURDIR)/results/report/index.html"

test: $(INSTALLED)  ## run the whole test suite
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

bench: $(INSTALLED) $(VENV)/installed-bench  ## measure how fast it is, both sides of each ratio in one go (ten to twenty minutes)
	$(BIN)/python bench/run_all.py

lint: export PATH := $(CURDIR)/$(BIN):$(PATH)  # snakefmt looks for shfmt there
lint: $(INSTALLED)  ## check style, spelling, types, imports and Snakemake's own lint; `make test` runs these commands too
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/codespell *.md Makefile Snakefile config.yaml bench cluster docs envs experiments profiles rules scripts src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED)  ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "The documentation: $(CURDIR)/site/index.html"

dag: $(INSTALLED)  ## draw the rule graph and the job graph into pictures/, as SVG and Mermaid
	mkdir -p pictures
	for graph in rulegraph dag; do \
	  $(BIN)/snakemake --quiet --forceall --$$graph dot > pictures/$$graph.dot && \
	  $(BIN)/snakemake --quiet --forceall --$$graph mermaid-js > pictures/$$graph.mmd && \
	  $(BIN)/python scripts/draw_graph.py --dot pictures/$$graph.dot --output pictures/$$graph.svg || exit 1; \
	done

cluster-inventory: $(INSTALLED)  ## draft the inventory of the Slurm cluster that this machine belongs to, as nodes.draft.yaml
	$(BIN)/python scripts/draft_inventory.py --ask-nodes --output nodes.draft.yaml

cluster-check: $(INSTALLED)  ## compare profiles/cluster/nodes.yaml with Slurm, and name each difference
	$(BIN)/python scripts/check_inventory.py profiles/cluster/nodes.yaml

schema: $(INSTALLED)  ## regenerate config.schema.json from the pydantic models
	$(BIN)/python scripts/write_schema.py

lock:  ## resolve envs/requirements.in again
	$(BIN)/python -m pip install --quiet uv
	envs/write_locks.sh "$(CURDIR)/$(BIN)/python"

$(INSTALLED): envs/$(LOCK).lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
	  { echo "error: no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r envs/$(LOCK).lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/installed-*
	@touch $@

$(VENV)/installed-bench: envs/bench.lock $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r envs/bench.lock
	@touch $@
