# The two commands of this project are `make demo` and `make test`; both do all their own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := build/docs
STORE ?= kmcl_store
# Tests run in this many processes; each process takes one test file after another, the longest files first.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
FAST := not story and not pages and not cluster and not chaos and not long and not browser

# Other versions than the locked ones: VERSIONS are constraints such as "torch==2.11.0 torchvision==0.26.0", OTHER_PYTHON is
# a version of Python or its path, RESOLUTION is highest, lowest or lowest-direct.
OTHER := build/versions
VERSIONS ?=
OTHER_PYTHON ?= $(BIN)/python
RESOLUTION ?= highest

.PHONY: pages help demo test check stories long test-lowest test-versions browser screenshots chaos soak gpu docs lock

help:
	@echo "make demo    set up, then search, promote and predict on real handwritten digits"
	@echo "make test    set up, then run all tests except those of the next targets"
	@echo "make check   ruff, mypy, import contracts and the fast tests (before each commit)"
	@echo "make stories killed workers, interrupted searches, promoted and served models, jobs on a Ray cluster (twelve minutes)"
	@echo "make pages   the commands, files and Python of the documentation, and its notebooks"
	@echo "make long    the tests that take longest: installed environments, PostgreSQL, growing clusters, arms, packed data, two searches at the same time, make test-lowest"
	@echo "make test-lowest    make test with the lowest versions that pyproject.toml allows (several GB in build/versions)"
	@echo "make test-versions  make test with other versions: VERSIONS=\"torch==2.11.0 torchvision==0.26.0\" OTHER_PYTHON=3.12"
	@echo "make browser the tests of MLflow's pages about a search, in headless Chromium (Debian's package chromium)"
	@echo "make screenshots  write the README's pictures again, from the store of make demo"
	@echo "make chaos   kill processes and servers of a search in many ways, and test that nothing is lost"
	@echo "make soak    a search of 1,000 trials that report recorded curves: what the driver and the record take"
	@echo "make gpu     the tests and the benchmarks that need CUDA"
	@echo "make docs    the documentation as a website, in $(DOCS)/site"
	@echo "make lock    pin all dependencies again"

# The set-up is done once, and again when the locked dependencies change.
$(READY): requirements.lock pyproject.toml
	@echo "== set-up: a virtual environment in $(VENV) with the locked dependencies (several GB the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@
	@echo "== set-up done"

demo: $(READY)
	@echo "== 1/3 search: 8 trials on handwritten digits"
	@$(BIN)/kmcl search search_spaces/digits.yaml --store $(STORE)
	@echo "== 2/3 promote: the best trial, on the sealed test split"
	@$(BIN)/kmcl promote digits --store $(STORE)
	@echo "== 3/3 predict: the champion labels six test images (their names say what they show)"
	@$(BIN)/kmcl predict models:/digits@champion $(STORE)/data/digits_samples/*.png --store $(STORE)
	@echo "== next: $(BIN)/kmcl ui --store $(STORE)   (the search and the champion in MLflow)"

test: $(READY)
	@echo "== the tests, with real Ray and MLflow processes, in $(WORKERS) processes"
	@$(PYTEST) tests $(PARALLEL) -m "$(FAST)" --durations=10

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(PYTEST) tests $(PARALLEL) -m "not job and $(FAST)" --durations=10

stories: $(READY)
	@echo "== killed workers, interrupted searches, promoted and served models, jobs on a Ray cluster"
	@$(PYTEST) tests $(PARALLEL) -m "(story or cluster) and not long" --durations=10

pages: $(READY)
	@echo "== the commands, files and Python of the documentation, and its notebooks, as a reader runs them"
	@$(PYTEST) tests $(PARALLEL) -m "pages and not long" --durations=10

long: $(READY)
	@$(PYTEST) tests $(PARALLEL) -m long --durations=10
	@$(MAKE) --no-print-directory test-lowest

# Only the packages that pyproject.toml names are lowered. The others are the newest that fit, as pip would install them.
test-lowest:
	@$(MAKE) --no-print-directory test-versions RESOLUTION=lowest-direct

test-versions: $(READY)
	@echo "== an environment in $(OTHER): resolution $(RESOLUTION) $(VERSIONS)"
	@$(BIN)/uv venv --quiet --clear --python $(OTHER_PYTHON) $(OTHER)
	@printf '%s\n' $(VERSIONS) > $(OTHER)/constraints.txt
	@$(BIN)/uv pip install --quiet --python $(OTHER)/bin/python --resolution $(RESOLUTION) \
		--constraint $(OTHER)/constraints.txt --group fast-tests --extra cluster -r pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(OTHER)/bin/python --no-deps -e .
	@echo "== the fast tests and one job, from its search on Ray to a prediction"
	@$(OTHER)/bin/python -m pytest tests --ignore tests/browser $(PARALLEL) -m "$(FAST) and not locked"

browser: $(READY)
	@echo "== MLflow's pages about a small search and its champion"
	@$(PYTEST) tests/browser

screenshots: demo
	@$(PYTEST) tests/browser --store $(STORE) --screenshots docs/images

chaos: $(READY)
	@echo "== every disaster three times, in random order (about an hour)"
	@$(PYTEST) tests/integration/chaos --rounds 3

soak: $(READY)
	@$(BIN)/python -m benchmarks.soak --work build/soak-$$(date +%s)

gpu: $(READY)
	@$(PYTEST) tests/gpu
	@$(BIN)/python -m benchmarks.losses --device cuda
	@$(BIN)/python -m benchmarks.step --device cuda
	@$(BIN)/python -m benchmarks.gpu
	@$(BIN)/python -m benchmarks.packed

# The documentation has an environment of its own. MkDocs prints advice about its next version unless it is told not to.
$(DOCS)/.ready: requirements-docs.lock
	@echo "== set-up of the documentation: a virtual environment in $(DOCS)/venv"
	@test -x $(DOCS)/venv/bin/python || $(PYTHON) -m venv $(DOCS)/venv
	@$(DOCS)/venv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	@$(DOCS)/venv/bin/uv pip install --quiet --python $(DOCS)/venv/bin/python --require-hashes -r requirements-docs.lock
	@touch $@

docs: $(DOCS)/.ready
	@NO_MKDOCS_2_WARNING=1 PATH="$(CURDIR)/$(DOCS)/venv/bin:$$PATH" $(DOCS)/venv/bin/mkdocs build --strict --quiet
	@echo "== written: $(DOCS)/site/index.html"

# Written without the index's address, so that any index can serve it.
lock:
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 --group dev --extra cluster --extra jpeg --extra gpu pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile --universal --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 --group docs -o requirements-docs.lock
