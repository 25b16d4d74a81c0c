# One command to check, one to fix. PYTHON chooses the interpreter: make check PYTHON=.venv/bin/python
PYTHON ?= python

.PHONY: check check-style fix

check: check-style
	$(PYTHON) -m pytest

check-style:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

fix:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .
