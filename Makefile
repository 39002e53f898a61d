PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The data, a folder or a file, and where a run on it lies. `make demo DATA=../shared/data/ml-100k` uses real data.
HOME_DIR := $(or $(MARQUEE_HOME),var)
GENERATED := $(HOME_DIR)/data/generated
DATA ?= $(GENERATED)
NAME := $(notdir $(abspath $(DATA)))
# By the whole path: two files of one name are two runs.
RUN := $(if $(filter $(GENERATED),$(DATA)),$(HOME_DIR),$(HOME_DIR)/$(NAME)-$(firstword $(shell echo $(abspath $(DATA)) | cksum)))
# The data as Parquet, which both training and the gateway read.
IMPORTED := $(RUN)/imported/$(NAME)
REPOSITORY ?= $(RUN)/repository
RECIPE ?= small
# How long simulated users show the loop at the end of `make demo`; 0: not.
LOOP_SECONDS ?= 40
# For the console: where training finds them, too.
POSTERS ?= $$(ls -d $(DATA)/posters $(DATA)/../posters/$(NAME) 2>/dev/null | head -n 1)
# All but gpu, whose packages take the place of others.
EXTRAS := servers,gateway,console,training,text,tracing,dev
# Options for the invented data, for example GENERATE="--users 80 --items 60".

.PHONY: help env demo up publish evaluate test check load protos released node lock clean

env: $(STAMP)

help:
	@echo "make demo      recommendations for three users, from data to answer, which of two policies wins, and stop again"
	@echo "make up        the same system, left running until Ctrl-C; prints where everything is"
	@echo "make publish   data, models and fusion policy only"
	@echo "make evaluate  what the models are worth on held-out events"
	@echo "make check     format, lint, types, generated code; make test: everything"
	@echo "make load      load tests of the whole system"
	@echo "make env       the environment; make lock, make protos: what is generated"
	@echo "make clean     removes data, models and events"
	@echo "DATA=FILE takes your own events, RECIPE=default trains in minutes instead of seconds"

# Data, models and fusion policy: made once, and kept until `make clean`.
publish: $(REPOSITORY)/fusion

$(GENERATED): | $(STAMP)
	$(BIN)/python -m training data generate $(GENERATE) $@

ifneq ($(DATA),$(GENERATED))
$(DATA):
	@echo "there is no $@; MovieLens comes by: $(BIN)/python -m training data download ml-100k" >&2; exit 1
endif

# IMPORT="--item sku" says what the files do not tell.
$(IMPORTED): $(DATA) | $(STAMP)
	rm -rf $@
	$(BIN)/python -m training data import $(DATA) --out $@ $(IMPORT)

$(REPOSITORY)/fusion: $(IMPORTED)
	$(BIN)/python -m training train all --recipe $(RECIPE) --data $< --repository $(REPOSITORY)

demo up: $(IMPORTED) $(REPOSITORY)/fusion
	MARQUEE_HOME=$(RUN) MARQUEE_POSTERS=$(POSTERS) $(BIN)/python -m fusion_gateway.local $@ --repository $(REPOSITORY) --events $</events.parquet $(if $(filter demo,$@),--loop-seconds $(LOOP_SECONDS))

evaluate: $(IMPORTED) $(REPOSITORY)/fusion
	$(BIN)/python -m training evaluate --data $< --repository $(REPOSITORY)

clean:
	rm -rf $(HOME_DIR)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[$(EXTRAS)]'
	touch $(STAMP)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/protos

# Three processes, for tests also wait; they must collect the same tests: hash seeds order sets. What fails beside others
# (exit code 1) runs once more, alone.
test: export PYTHONHASHSEED = 0
test: export OMP_NUM_THREADS = 1
test: $(STAMP)
	$(BIN)/python -m pytest -q -rs -n 3 --dist loadfile || \
	  { [ $$? -eq 1 ] && $(BIN)/python -m pytest -q --last-failed --last-failed-no-failures none; }

load: $(IMPORTED) $(REPOSITORY)/fusion
	$(BIN)/python -m tests.load --data $< --repository $(REPOSITORY)

protos: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. protos/marquee/v1/*.proto

# What clients may rely on from now on: run it when a version is tagged.
released: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I. --descriptor_set_out=protos/marquee/v1/released.binpb protos/marquee/v1/*.proto

# For the tests of the TypeScript examples in protos/README.md and the console's README, which are skipped without.
node:
	mkdir -p .node && cp tests/protos/package.json .node
	npm install --silent --no-audit --no-fund --no-package-lock --prefix .node

lock: $(STAMP)
	$(BIN)/pip-compile --quiet --no-annotate --no-emit-index-url --no-emit-find-links --strip-extras --extra $(EXTRAS) --no-header --output-file requirements.lock pyproject.toml
	sed -i -e "s/+cpu$$//" -e "/^marquee @/d" requirements.lock
