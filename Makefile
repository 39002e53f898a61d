PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: env demo up test check load protos lock clean

env: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[servers,gateway,training,dev]'
	touch $(STAMP)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/protos

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

load: $(STAMP)
	$(BIN)/python -m tests.load

protos: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. protos/marquee/v1/*.proto

lock: $(STAMP)
	$(BIN)/pip-compile --quiet --no-annotate --no-emit-index-url --no-emit-find-links --strip-extras --all-extras --no-header --output-file requirements.lock pyproject.toml
	sed -i "s/+cpu$$//" requirements.lock
