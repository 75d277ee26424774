# `make demo` and `make test` do all the set-up they need on a machine with Python 3.11 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BACKEND ?= numpy
VENV := .venv
PY := $(VENV)/bin/python
PINNED := --quiet --disable-pip-version-check -c constraints.txt
# Timings mean something on one thread only; two threads of OpenBLAS on a busy machine cost more than they give.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1

.PHONY: demo test lint types pytest docs bench bench-history bench-compare dashboard clean
.DELETE_ON_ERROR:

$(PY):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Equipoise needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

# One stamp an extra: installed again when the project's dependencies change.
$(VENV)/.extra-%: pyproject.toml constraints.txt | $(PY)
	@echo "installing equipoise[$*] ..."
	$(PY) -m pip install $(PINNED) -e '.[$*]'
	@touch $@

demo: $(VENV)/.extra-demo $(if $(filter-out numpy,$(BACKEND)),$(VENV)/.extra-$(BACKEND))
	$(ONE_THREAD) $(PY) -m equipoise demo --backend $(BACKEND) --output report

test: lint types pytest

lint: $(VENV)/.extra-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(VENV)/.extra-test
	$(PY) -m mypy

pytest: $(VENV)/.extra-test
	$(ONE_THREAD) $(PY) -m pytest -n auto --dist worksteal

docs: $(VENV)/.extra-docs
	$(ONE_THREAD) $(PY) -m sphinx -W --keep-going -b html docs docs/_build/html
	$(PY) docs/check_links.py docs/_build/html
	$(ONE_THREAD) $(PY) -m sphinx -q -b doctest -D plot_gallery=0 -D nb_execution_mode=off docs docs/_build/doctest

bench: $(VENV)/.extra-bench
	cd asv_bench && $(ONE_THREAD) ../$(PY) publish.py --run $(if $(BENCH),--bench '$(BENCH)')

# Today's benchmarks with the code of the milestones that have no results yet.
bench-history: $(VENV)/.extra-bench
	cd asv_bench && $(ONE_THREAD) ../$(PY) publish.py --history $(if $(BENCH),--bench '$(BENCH)')

bench-compare: $(VENV)/.extra-bench
	cd asv_bench && $(ONE_THREAD) ../$(PY) publish.py --compare '$(BASE)' $(if $(BENCH),--bench '$(BENCH)') $(if $(FRESH),--fresh)

ifneq ($(filter bench-compare,$(MAKECMDGOALS)),)
ifeq ($(BASE),)
$(error bench-compare needs a commit to compare with: make bench-compare BASE=main)
endif
endif

dashboard: $(VENV)/.extra-bench
	cd asv_bench && ../$(PY) publish.py

clean:
	rm -rf $(VENV) report docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis asv_bench/.asv
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
