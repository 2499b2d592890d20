# Two commands from a bare clone: make demo and make test. They need Python 3.11 or newer, and the network for packages.
PYTHON ?= python3
SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test bench fuzz faults lint lock clean

demo: $(INSTALLED)  ## a real account, moved between two real servers on this machine, and verified
	@$(BIN)/eurosky demo

test: $(INSTALLED)  ## every test; the ones on real servers too
	@$(BIN)/python -m pytest --numprocesses 2

bench: $(INSTALLED)  ## the protocol core, the conversion and the transfer beside plain baselines and peers, long lists, and many runs; about an hour
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r benchmarks/requirements.lock
	@$(BIN)/python -m benchmarks.core
	@$(BIN)/python -m benchmarks.conversion
	@$(BIN)/python -m benchmarks.transfer
	@$(BIN)/python -m benchmarks.intake
	@$(BIN)/python -m benchmarks.ledger
	@$(BIN)/python -m benchmarks.bulk --launcher both
	@$(BIN)/python -m benchmarks.bulk_run

fuzz: $(INSTALLED)  ## look for bytes that break the parsers, for SECONDS in all; what is found stands in .fuzz/
	@$(BIN)/python -m eurosky_pipeline_tests.fuzz --seconds $(SECONDS)

faults: $(INSTALLED)  ## real migrations through every fault and twenty kills, into docs/reliability.md; about twenty minutes
	@$(BIN)/python -m eurosky_pipeline_tests.faults --write docs/reliability.md

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pip check

lock:  ## pin what setup.py allows, with hashes and without any index's address
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra sandbox --extra dev setup.py --output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header benchmarks/requirements.in --output-file benchmarks/requirements.lock

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# The mark is written last: an installation that was interrupted is begun anew.
$(INSTALLED): requirements.lock setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@echo "installing into $(VENV) (about a minute and a half)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@
