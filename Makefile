# make search: install and run the quickstart study. make test: install with dev tools, lint, type check, all tests.
# make check: the same without the tests that start processes, train or read much, in less than two minutes.
PYTHON ?= python3
STUDY ?= configs/quickstart.yaml
BIN := .venv/bin
# uv does not read pip's configuration: pip's folder of wheels, if one is named, is handed on. Bytecode is compiled now:
# where Python may not write it (PYTHONDONTWRITEBYTECODE), every import of torch would compile it again, for ten seconds.
UV := UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt

.PHONY: search check test coverage lint docs install install-dev soak versions defaults clean

search: install
	$(BIN)/l2m search $(STUDY)

# a process for each core, one torch thread each: their threads would wait for each other
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n logical --maxprocesses 8 --dist loadfile --durations 25
UNIT := -m "not slow and not integration"

test: install-dev lint docs
	$(PYTEST) -m "not slow"

check: install-dev lint
	$(PYTEST) $(UNIT)

# of the tests of `make check`; lines that only child processes run are not seen
coverage: install-dev
	$(PYTEST) $(UNIT) --cov=l2m_design --cov-report=term:skip-covered

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the site, into site/; a link that leads nowhere, or a page that nothing names, is an error
docs: install-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

soak: install-dev
	$(BIN)/pytest

# exports under older transformers, each installed aside: the oldest that is tried, and the oldest that this package runs on
versions: install-dev
	for version in 4.57.3 5.17.0; do L2M_TEST_TRANSFORMERS=$$version $(BIN)/pytest tests/export/test_versions.py || exit 1; done

# what the readers of published models take for what a config leaves out, as the installed transformers has it
defaults: install-dev
	$(BIN)/python -m tests.architecture.defaults

install: .venv/installed
install-dev: .venv/installed-dev

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet uv

# torch for the driver that is here; make install TORCH_INDEX=URL names another index (empty: PyPI)
FROM_INDEX = $${index:+--extra-index-url $$index --index-strategy unsafe-best-match}
ifeq ($(origin TORCH_INDEX),undefined)
PICKED = $(BIN)/python l2m_design/nvidia.py
else
PICKED = echo $(TORCH_INDEX)
endif

.venv/installed: $(BIN)/uv pyproject.toml constraints.txt
	index=$$($(PICKED)) && $(UV) $(FROM_INDEX) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	index=$$($(PICKED)) && $(UV) $(FROM_INDEX) --editable . --group dev
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
