# One command for each thing a contributor does; each makes the environment that it needs.
#
#   make demo    generate a panel, start a daemon, train, impute, evaluate, report (1 to 5 minutes)
#   make test    every test but the long ones (at most 10 minutes)
#   make soak    the long tests
#   make check   formatting, lint, types, import law, generated code
#   make proto   generate the Python package of the contract anew
#   make docs    write docs/cli.md anew from the commands
#   make release both distributions and their bills of materials, in dist/
#   make bench   the benchmarks, each figure beside its baseline
#   make gpu-check   checks a GPU node and measures on it (at most 10 minutes); needs no network
#   make gpu-bundle  gathers what an offline GPU node lacks for that into .gpu-bundle
#
# PYTHON names the interpreter for a new environment, VENV its folder, DEMO the demo's output folder.

VENV ?= .venv
DEMO ?= demo-out
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
PROJECTS := pyproject.toml vcfrag_indexd/pyproject.toml constraints.txt

.PHONY: demo test soak check lint types imports drift proto docs release bench gpu-check gpu-bundle debian
.DELETE_ON_ERROR:

$(VENV)/.ready-python: scripts/environment.sh
	PYTHON="$(PYTHON)" sh scripts/environment.sh $(VENV)
	touch $@

# What a user of the demo needs, and no development tool.
$(VENV)/.ready-demo: $(VENV)/.ready-python $(PROJECTS)
	$(PIP) --editable '.[train,demo]' --editable './vcfrag_indexd[cpu]'
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready-python $(PROJECTS)
	$(PIP) --editable '.[train,demo,dev]' --editable './vcfrag_indexd[cpu]'
	touch $(VENV)/.ready-demo $@

$(VENV)/.ready-soak: $(VENV)/.ready-dev
	$(PIP) --editable '.[workflows]'
	touch $@

$(VENV)-proto/.ready: scripts/environment.sh proto/requirements.txt
	PYTHON="$(PYTHON)" sh scripts/environment.sh $(VENV)-proto
	$(VENV)-proto/bin/python -m pip install --quiet --requirement proto/requirements.txt
	touch $@

demo: $(VENV)/.ready-demo
	$(BIN)/vcfrag demo --out $(DEMO)

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist worksteal

soak: $(VENV)/.ready-soak
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -m soak --timeout 3600

check: lint types imports drift

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.ready-dev
	$(BIN)/mypy

imports: $(VENV)/.ready-dev
	$(BIN)/lint-imports

drift: $(VENV)-proto/.ready
	sh scripts/proto.sh $(VENV)-proto --check

proto: $(VENV)-proto/.ready
	sh scripts/proto.sh $(VENV)-proto .

docs: $(VENV)/.ready-dev
	$(BIN)/python scripts/cli_page.py > docs/.cli.md
	mv docs/.cli.md docs/cli.md

$(VENV)-release/.ready: scripts/environment.sh scripts/release_requirements.txt
	PYTHON="$(PYTHON)" sh scripts/environment.sh $(VENV)-release
	$(VENV)-release/bin/python -m pip install --quiet --requirement scripts/release_requirements.txt
	touch $@

release: $(VENV)-release/.ready
	sh scripts/release.sh dist $(VENV)-release

bench: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks --work bench-out

gpu-check: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.gpu --out gpu-check-out

gpu-bundle:
	sh scripts/gpu_bundle.sh .gpu-bundle

debian:
	sh scripts/debian_packages.sh
