# Playmesh. `make` lists what there is.
# Needs Python 3.11 or later, make, and a package index; everything else is installed into .venv.

PYTHON ?= python3
PORT ?= 8080
BACKEND ?= embedded
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-long test-dynamodb test-aws lint type check bench aws-local aws-setup lock clean

# Where AWS is an endpoint of this machine, any credentials will do.
ifneq ($(findstring //127.0.0.1,$(AWS_ENDPOINT_URL))$(filter aws-local,$(MAKECMDGOALS)),)
export AWS_ENDPOINT_URL ?= http://127.0.0.1:5566
export AWS_ACCESS_KEY_ID ?= local
export AWS_SECRET_ACCESS_KEY ?= local
export AWS_REGION ?= eu-west-1
export AWS_DEFAULT_REGION ?= $(AWS_REGION)
export PLAYMESH_JWKS_BUCKET ?= playmesh-local
export PLAYMESH_SAVES_BUCKET ?= playmesh-local-saves
endif
export AWS_ENDPOINT_URL
DYNAMODB_LOCAL := .dynamodb-local
JOSE := .jose
LONG_TESTS := tests/rotation tests/attacks/test_differential.py tests/attacks/test_jwks_flood.py \
  tests/conformance/test_races.py tests/conformance/test_sessions_model.py \
  tests/conformance/test_accounts_model.py tests/conformance/test_aws_bad_weather.py \
  tests/service/test_identity_erasure_crashes.py tests/service/test_identity_limits.py \
  tests/service/test_player_data_blob_crashes.py \
  tests/attacks/test_enumeration.py tests/unit/test_limits.py
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
RUN_STAMP := $(VENV)/$(if $(filter aws,$(BACKEND)),.aws,.run)

# PROVIDERS=fake is a mesh with fakes beside it. Real platforms are named in PLAYMESH_PROVIDERS.
with_fakes = $(if $(filter-out fake,$(PROVIDERS)),$(error PROVIDERS is fake or nothing; PLAYMESH_PROVIDERS names real ones),$(PROVIDERS))

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

setup: $(VENV)/.dev ## Install all that developing needs into .venv

run: $(RUN_STAMP) ## Start the three services on this machine; Ctrl-C stops them (PORT=8080 BACKEND=embedded PROVIDERS=fake)
	@PLAYMESH_PORT=$(PORT) PLAYMESH_BACKEND=$(BACKEND) $(BIN)/python -m $(if $(with_fakes),tests.support.fakes,services)

demo: $(VENV)/.run ## Play a game client's story against the running mesh (PORT=8080 PROVIDERS=fake)
	@PLAYMESH_PORT=$(PORT) $(BIN)/python -m examples.demo$(if $(with_fakes),_platforms)

test: $(VENV)/.dev ## Run the tests
	@$(PYTEST)

test-long: $(VENV)/.dev $(JOSE)/node_modules/jose/package.json ## Run the proofs at full length, beside npm's jose (needs Node)
	@PLAYMESH_TEST_LONG=1 PLAYMESH_TEST_JOSE=$(abspath $(JOSE)) $(PYTEST) $(LONG_TESTS)

test-dynamodb: $(VENV)/.dev $(DYNAMODB_LOCAL)/DynamoDBLocal.jar ## Run AWS's tests on DynamoDB Local (needs Java and Maven)
	@PLAYMESH_DYNAMODB_LOCAL=$(abspath $(DYNAMODB_LOCAL)) $(PYTEST) \
	  tests/conformance/test_dynamodb_local.py tests/mesh/test_aws.py

test-aws: $(VENV)/.dev ## Run the stores' tests in the AWS account of AWS's variables; a few cents
	@PLAYMESH_TEST_AWS=1 $(BIN)/python -m pytest tests/conformance/test_aws_account.py

lint: $(VENV)/.dev ## Check style and who may import whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-logo

type: $(VENV)/.dev ## Check types
	@$(BIN)/mypy

check: lint type test ## Everything that must hold before a commit

bench: $(VENV)/.dev ## Measure CPU per request beside its limit
	@$(BIN)/python -m bench

aws-local: $(VENV)/.dev ## An AWS of this machine's own, to try BACKEND=aws with
	@$(BIN)/python -m infra.aws_local

aws-setup: $(VENV)/.aws ## Make the tables, buckets and secrets in an AWS account (PLAYMESH_JWKS_BUCKET=... PLAYMESH_SAVES_BUCKET=...)
	@$(BIN)/python -m infra.aws_setup

lock: $(VENV)/.dev ## Resolve the dependencies anew and write the locks
	@for lock in "dev --all-extras --group dev" "aws --extra aws -c locks/dev.txt" "run -c locks/dev.txt"; do \
	  set -- $$lock; name=$$1; shift; \
	  $(BIN)/uv pip compile pyproject.toml --upgrade --universal --python-version 3.11 \
	    --generate-hashes --no-annotate --custom-compile-command "make lock" --quiet \
	    "$$@" -o locks/$$name.txt || exit 1; \
	done

clean: ## Remove .venv and caches; the players' data in .playmesh stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Playmesh needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }

$(DYNAMODB_LOCAL)/DynamoDBLocal.jar: infra/dynamodb-local.xml
	@echo "Fetching DynamoDB Local ..."
	@mvn --quiet --batch-mode --file infra/dynamodb-local.xml dependency:copy-dependencies \
	  -DoutputDirectory=$(abspath $(DYNAMODB_LOCAL))/DynamoDBLocal_lib
	@cp $(DYNAMODB_LOCAL)/DynamoDBLocal_lib/DynamoDBLocal-*.jar $@

$(JOSE)/node_modules/jose/package.json:
	@echo "Installing jose ..."
	@mkdir -p $(JOSE)
	@npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix $(JOSE) jose@6.2.17

$(VENV)/.run: locks/run.txt | $(VENV)/bin/python
	@echo "Installing what the services need ..."
	@$(PIP) install --quiet --require-hashes -r locks/run.txt
	@touch $@

$(VENV)/.aws: locks/aws.txt | $(VENV)/bin/python
	@echo "Installing what the services need for AWS ..."
	@$(PIP) install --quiet --require-hashes -r locks/aws.txt
	@touch $@ $(VENV)/.run

$(VENV)/.dev: locks/dev.txt | $(VENV)/bin/python
	@echo "Installing what developing needs ..."
	@$(PIP) install --quiet --require-hashes -r locks/dev.txt
	@touch $@ $(VENV)/.run $(VENV)/.aws
