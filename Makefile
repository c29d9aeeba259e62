# One virtual environment, .venv, is all this makes; Kafka's jars go to a cache outside the tree.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
KAFKA_VERSION := 4.1.0
KAFKA_JARS := $(or $(SAMPLEJOIN_KAFKA_JARS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/samplejoin/kafka-$(KAFKA_VERSION))
BIN := .venv/bin
PEERS := quix bytewax faust
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help setup kafka-jars demo check test chaos bench lint docs lock release clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: .venv/dev ## .venv with all that development needs

demo: .venv/demo ## join real data, on a broker inside the demo
	$(BIN)/samplejoin demo

check: lint ## lint, types, and the examples of core, job and cleaning: half a minute, for after each change
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not searches and not kafka" tests/core tests/job tests/cleaning tests/agents

test: setup kafka-jars lint ## lint and all tests, with a real Kafka for each of two processes: PROCESSES=2
	SAMPLEJOIN_KAFKA_JARS="$(KAFKA_JARS)" SAMPLEJOIN_REQUIRE_KAFKA=1 \
		$(BIN)/pytest -n $(or $(PROCESSES),2) --dist loadfile

chaos: setup kafka-jars ## hours of faults on a real Kafka: SEED=1 ROUNDS=48 EVENTS=450000 OUT=build/chaos-1
	SAMPLEJOIN_KAFKA_JARS="$(KAFKA_JARS)" $(BIN)/python -m tests.chaos --seed $(or $(SEED),1) \
		--rounds $(or $(ROUNDS),48) --events-per-round $(or $(EVENTS),450000) --lanes $(or $(LANES),2) --away $(or $(AWAY),60) \
		$(if $(RATE),--rate $(RATE)) \
		$(if $(MINUTES),--minutes $(MINUTES)) --out $(or $(OUT),build/chaos-$(or $(SEED),1))

bench: .venv/bench kafka-jars build/bench/flink/flink-join-1.jar $(PEERS:%=build/bench/venvs/%/installed) ## cost next to Flink and others: ROUNDS=3 SYSTEMS=ours,floor LONG=1
	SAMPLEJOIN_KAFKA_JARS="$(KAFKA_JARS)" $(BIN)/python -m bench --rounds $(or $(ROUNDS),3) \
		$(if $(SYSTEMS),--systems $(SYSTEMS)) $(if $(LONG),--long) $(if $(OUT),--out $(OUT))

lint: setup ## ruff, mypy, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy samplejoin tests bench
	$(BIN)/lint-imports --no-logo

docs: setup ## write the generated pages of docs/
	$(BIN)/python scripts/gen_docs.py

kafka-jars: ## the jars of the tests' Kafka (Java, Maven): KAFKA_VERSION=3.9.1
	@scripts/kafka/fetch.sh "$(KAFKA_JARS)" $(KAFKA_VERSION)

lock: .venv/release ## write requirements-dev.lock from the lower bounds of pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra dev pyproject.toml --output-file requirements-dev.lock
	sed -i '1i # What development and CI install, with hashes. `make lock` writes it from pyproject.toml.' requirements-dev.lock

release: .venv/release ## sdist and wheel, each installed and tried, SBOM, changelog check; DRAFT=1 before the date is set
	PYTHON="$(PYTHON)" DRAFT=$(DRAFT) scripts/release.sh

clean: ## remove what was built, .venv too
	rm -rf .venv build dist *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with venv not found; say: make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -c 'import sys; sys.exit("samplejoin needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	"$(PYTHON)" -m venv .venv

# The files .venv/demo and .venv/dev only say when each set was installed.
.venv/demo: pyproject.toml | .venv/bin/python
	$(PIP) -e '.[demo]'
	@touch $@

.venv/dev: pyproject.toml requirements-dev.lock | .venv/bin/python
	$(PIP) --require-hashes -r requirements-dev.lock
	$(PIP) --no-deps -e .
	@touch .venv/demo $@

.venv/release: pyproject.toml .venv/dev | .venv/bin/python
	$(PIP) -e '.[release]'
	@touch $@

.venv/bench: pyproject.toml .venv/dev | .venv/bin/python
	$(PIP) -e '.[bench]'
	@touch $@

# Jobs of other systems, each with an environment of its own.
build/bench/venvs/%/installed: bench/peers/%/requirements.txt | .venv/bin/python
	"$(PYTHON)" -m venv build/bench/venvs/$*
	build/bench/venvs/$*/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

build/bench/flink/flink-join-1.jar: bench/peers/flink/pom.xml $(wildcard bench/peers/flink/src/main/java/bench/*.java)
	mvn --quiet --batch-mode --file $< package
	@touch $@
