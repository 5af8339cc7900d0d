# The commands that people and CI share; `make help` lists them.
# They need Python 3.11 or newer and make, and install everything else into $(VENV), at the versions of requirements.lock.

VENV ?= .venv
BIN := $(VENV)/bin
LOWEST ?= build/lowest
PORT ?= 8000

# Processes of the tests, one more than two cores: many tests wait for other processes.
JOBS ?= 3

# The first interpreter that is new enough; another one: make PYTHON=/path/to/python3
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)

# Dependency groups (PEP 735) need pip 25.1; newer than 26.1 is untried.
PIP_RANGE := pip>=25.1,<26.2
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --constraint requirements.lock

# For machines without a GPU: the address of PyTorch's index of CPU wheels (see its installation page), a tenth of the size: make run TORCH_INDEX=https://...
TORCH_INDEX ?=

RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

# One thread for each test process; more would compete for the cores.
TEST_THREADS := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# A file's tests share what they start; conftest.py has the order.
SPREAD := -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The tests that smoothcert/ is measured by: its own, and of those around it what exercises documents and jobs.
COVERING := tests/stats tests/noise tests/engines tests/models tests/schemas tests/images tests/jobs tests/attack tests/test_files.py tests/test_signing.py tests/test_timestamps.py tests/worker tests/service/test_auth.py tests/service/test_batches.py tests/cli/test_keys.py

# Bracketed letters, so that this line does not match itself.
MACHINE_PATH := '(^|[^[:alnum:]_.}~-])/(roo[t]|hom[e]/[[:alnum:]_]+|User[s]/[[:alnum:]_]+|wor[k]|op[t])/|py[p]i\.|pythonhoste[d]|registr[y]\.npm|file:[/]{3}|-index-ur[l][= ]h'

# What `make mutants` changes, where, and the tests that it asks: by default those that mirror the module.
MODULE ?= smoothcert/stats/bounds.py
MUTATED := build/mutants/tree
MIRROR = $(patsubst smoothcert/%,tests/%,$(dir $(MODULE)))test_$(notdir $(MODULE))

.DEFAULT_GOAL := help
.PHONY: help run test lint types imports format unit duplicates coverage mutants faults soak images bench docs lock lowest audit verifier release-check openapi-client site clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: $(RUN_STAMP) ## start service, worker and broker; prints the page's address; Ctrl-C stops them all
	@exec $(BIN)/smoothcert up --port $(PORT)

test: lint types imports unit ## the whole check, as CI runs it

lint: $(DEV_STAMP) ## formatting, lint, dead code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/vulture
	@! git grep -nIE $(MACHINE_PATH) || { echo "make lint: a path of one machine, or a registry's host" >&2; exit 1; }

types: $(DEV_STAMP) ## strict static types
	$(BIN)/mypy

imports: $(DEV_STAMP) ## which package may import which
	$(BIN)/lint-imports

unit: $(DEV_STAMP) ## the tests; a part of them: make unit TESTS=tests/stats
	$(TEST_THREADS) PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest $(SPREAD) $(TESTS)

format: $(DEV_STAMP) ## format, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

duplicates: $(DEV_STAMP) ## code that stands twice (a minute)
	$(BIN)/pylint --jobs $(JOBS) smoothcert training worker service benchmarks

coverage: $(DEV_STAMP) ## branches of smoothcert/ that no test takes; fails below 98 %
	@rm -rf build/coverage
	$(TEST_THREADS) $(BIN)/coverage run -m pytest $(SPREAD) $(COVERING)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# cosmic-ray edits the module in place, so it gets a copy of the last commit.
mutants: $(DEV_STAMP) build/mutants/bin/cosmic-ray ## do the tests notice wrong code? make mutants MODULE=... TESTS=... (minutes)
	@rm -rf $(MUTATED) && mkdir -p $(MUTATED) && git archive HEAD | tar -x -C $(MUTATED)
	@sed -i 's|smoothcert/stats/bounds.py|$(MODULE)|; s|tests/stats/test_bounds.py|$(or $(TESTS),$(MIRROR))|' $(MUTATED)/cosmic-ray.toml
	@cd $(MUTATED) && export PATH="$(abspath $(BIN)):$(abspath build/mutants/bin):$$PATH" $(TEST_THREADS) && cosmic-ray baseline cosmic-ray.toml \
		&& cosmic-ray init cosmic-ray.toml session.sqlite && cosmic-ray exec cosmic-ray.toml session.sqlite \
		&& cr-report session.sqlite --surviving-only --show-diff && cr-rate session.sqlite --fail-over 15

faults: $(DEV_STAMP) ## break a real deployment, one fault at a time; writes the table of docs/reliability.md (15 minutes)
	$(BIN)/python -m tests.faults

soak: $(DEV_STAMP) ## a deployment under load, with a fault every 30 seconds (20 minutes)
	$(BIN)/python -m tests.soak --minutes 20

images: ## build both images, tagged with the version
	docker compose build

bench: $(DEV_STAMP) ## measure this machine: start to first page, post to certificate
	$(BIN)/python benchmarks/end_to_end.py

docs: $(DEV_STAMP) ## write docs/cli.md from the commands, methods and data sets
	$(BIN)/python -m docs.write_cli

release-check: $(DEV_STAMP) build/lock/bin/uv ## can this tree be released? leaves wheel, sdist and verify.pyz in build/release
	$(BIN)/python -m tests.release --uv build/lock/bin/uv

verifier: $(DEV_STAMP) ## build/release/verify.pyz: verifies certificates with Python alone
	$(BIN)/python -m tests.release.verifier build/release/verify.pyz

lock: build/lock/bin/uv ## resolve requirements.lock again; UPGRADE=1 takes newer versions
	UV_CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/uv pip compile pyproject.toml --all-extras --group dev \
		--universal --python-version 3.11 --no-emit-index-url --quiet $(if $(UPGRADE),--upgrade) -o requirements.lock

lowest: $(LOWEST)/.installed ## the tests with everything as old as pyproject.toml allows (installs PyTorch a second time)
	$(TEST_THREADS) $(LOWEST)/bin/python -m pytest $(SPREAD) $(TESTS)

# Not part of `make test`, because it asks a public database. An empty report means that the database was not reached.
audit: build/audit/bin/pip-audit ## known vulnerabilities of the pinned dependencies; needs the network
	@rm -f build/audit/report.json
	@build/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --vulnerability-service osv \
		--timeout 10 --progress-spinner off --format json --output build/audit/report.json 2>build/audit/log; \
	if [ -s build/audit/report.json ]; then cat build/audit/log; $(PYTHON) -c "import json, sys; \
	found = [(p['name'], p['version'], v['id']) for p in json.load(open('build/audit/report.json'))['dependencies'] \
	for v in p.get('vulns', [])]; print(*[' '.join(f) for f in found], sep='\n'); sys.exit(bool(found))"; \
	else tail -n 1 build/audit/log; echo "make audit: the database of vulnerabilities could not be reached; nothing was checked" >&2; \
	exit 2; fi

clean: ## remove the environment and every cache
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; install one, or name it: make PYTHON=..." >&2; exit 2; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@# Some systems ship venv without ensurepip; then the system's pip installs pip.
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { $(PYTHON) -m venv --clear --without-pip $(VENV) \
		&& $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }

$(RUN_STAMP): pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing what running needs (PyTorch is large: the first time takes minutes)"
	@$(PIP) install --quiet '$(PIP_RANGE)'
	@$(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX) torch torchvision)
	@$(INSTALL) --editable '.[service,worker,training,cpu,broker,onnx,verify]'
	@touch $@

$(DEV_STAMP): pyproject.toml requirements.lock $(RUN_STAMP)
	@echo "installing what the checks need"
	@$(INSTALL) --group dev
	@touch $@

build/audit/bin/pip-audit:
	@$(PYTHON) -m venv build/audit
	@build/audit/bin/python -m pip install --quiet pip-audit

$(LOWEST)/.installed: pyproject.toml | build/lock/bin/uv
	@$(PYTHON) -m venv $(LOWEST)
	@build/lock/bin/uv pip compile pyproject.toml --all-extras --group dev --resolution lowest-direct \
		--python $(LOWEST)/bin/python --no-emit-index-url --quiet -o $(LOWEST)/requirements.txt
	@$(LOWEST)/bin/python -m pip install --quiet --requirement $(LOWEST)/requirements.txt
	@$(LOWEST)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

build/lock/bin/uv:
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet uv

# Apart from the rest, as it wants an older typer. The test of generated clients runs where this is installed.
openapi-client: build/openapi/bin/openapi-python-client ## what the test of generated clients needs

# The pages and the reference of the Python interface, from docstrings; griffe reads them without importing.
site: build/site-tools/bin/mkdocs ## all pages as HTML with search, in build/site
	NO_MKDOCS_2_WARNING=1 build/site-tools/bin/mkdocs build --quiet --strict

build/site-tools/bin/mkdocs:
	@$(PYTHON) -m venv build/site-tools
	@build/site-tools/bin/python -m pip install --quiet 'mkdocs==1.6.1' 'mkdocs-material==9.8.2' 'mkdocstrings[python]==1.0.8'

build/openapi/bin/openapi-python-client:
	@$(PYTHON) -m venv build/openapi
	@build/openapi/bin/python -m pip install --quiet 'openapi-python-client==0.29.1'

build/mutants/bin/cosmic-ray:
	@$(PYTHON) -m venv build/mutants
	@build/mutants/bin/python -m pip install --quiet 'cosmic-ray==8.7.*'
