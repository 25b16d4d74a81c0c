# One command to check, one to fix. PYTHON chooses the interpreter: make check PYTHON=.venv/bin/python
PYTHON ?= python

.PHONY: check fix

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest

fix:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
