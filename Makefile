# The two commands of this project are `make demo` and `make test`; both do all their own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STORE ?= kmcl_store

.PHONY: help demo test check fast lint gpu lock clean

help:
	@echo "make demo    set up, then search, promote and predict on real handwritten digits"
	@echo "make test    set up, then run every test"
	@echo "make check   ruff, mypy, import contracts and the fast tests (before each commit)"
	@echo "make gpu     the tests that need CUDA"
	@echo "make lock    pin all dependencies again"

# The set-up is done once, and again when the locked dependencies change.
$(READY): requirements.lock pyproject.toml
	@echo "== set-up: a virtual environment in $(VENV), with the locked dependencies (several GB the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@
	@echo "== set-up done"

demo: $(READY)
	@echo "== 1/3 search: 12 KMCL trials on handwritten digits, by Ray Tune, Optuna and Ray Train"
	@$(BIN)/kmcl search search_spaces/digits.yaml --store $(STORE)
	@echo "== 2/3 predict and promote: the best trial on the sealed test split, then into the registry"
	@$(BIN)/kmcl promote digits --store $(STORE)
