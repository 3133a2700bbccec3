# Shortcuts for people working on t5g. Everything runs in .venv, which is made when missing: nothing needs to be active.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(shell git ls-files '*.h' '*.cc')

.PHONY: help demo test dev lint format stubs clean

help:
	@echo "make demo    install t5g into .venv and run its bundled model"
	@echo "make test    install t5g into .venv and run the tests"
	@echo "make dev     build python/t5g/_core in place, for PYTHONPATH=python"
	@echo "make lint    ruff, clang-format, mypy        make format   rewrite what they can"
	@echo "make stubs   write python/t5g/_core/*.pyi      make clean    remove build/"

demo: .venv
	$(BIN)/pip install -q .
	$(BIN)/t5g-run -p "This package contains a small tool that renames many files at once, with counters and dates."

test: .venv
	$(BIN)/pip install -q '.[test]' --config-settings=cmake.define.T5G_TESTING=ON
	$(BIN)/python -m pytest

.venv:
	$(PYTHON) -m venv .venv

# The tools of a developer; kept apart from .venv's creation so that users never download them.
$(BIN)/ruff: | .venv
	$(BIN)/pip install -q -U pip
	$(BIN)/pip install -q --group dev '.[test]'

dev: $(BIN)/ruff
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --preset dev
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build --preset dev

lint: $(BIN)/ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(NATIVE)
	$(BIN)/mypy

format: $(BIN)/ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE)

stubs: dev
	PYTHONPATH=python $(BIN)/python tools/checks/stubs.py

clean:
	rm -rf build
