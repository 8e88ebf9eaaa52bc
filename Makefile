# Set-up and everyday commands. `make bench` and `make test` are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: native bench test lint report docs clean

# Modules are compiled when they are first imported, as few of those installed ever are.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
	--editable

# One environment for everything, of which `make bench` installs what it needs, and the tests the rest; again only when
# the pins or the package's own needs change.
$(VENV)/runtime: pyproject.toml constraints.txt
	@echo "1/2  installing into $(VENV): torch and others, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) .
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV): torch, tools for tests and others, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) '.[dev]'
	@touch $(VENV)/runtime $@

# Compiled now, and not while something is measured; without a compiler it says so, and all else works.
native: $(VENV)/installed  ## the compiled kernels
	$(BIN)/python -m cells compile

bench: $(VENV)/runtime  ## the main job: the quick sweep and its report
	@echo "2/2  python -m bench +sweep=quick"
	@$(BIN)/python -m bench +sweep=quick

test: native  ## all tests
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/installed  ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

report: $(VENV)/runtime  ## the quick sweep's report again, from its stored files
	$(BIN)/python -m reports results/quick

$(VENV)/docs: $(VENV)/installed
	$(INSTALL) '.[docs]'
	touch $@

docs: $(VENV)/docs  ## the documentation as a site: site/index.html
	$(BIN)/mkdocs build --quiet --strict

clean:  ## the environment and caches; results stay
	rm -rf $(VENV) site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
