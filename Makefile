# Two commands set everything up on a fresh machine with Python 3.11 or newer:
#   make demo   environment, base install, the main job on the embedded world; the report's path comes last
#   make test   environment, full install, every check
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
UV = UV_FIND_LINKS="$${UV_FIND_LINKS-$$PIP_FIND_LINKS}" $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt

.PHONY: demo test install lint types tests docs figures constraints clean
demo: $(VENV)/base
	$(BIN)/palate bench --out palate-out/demo

test: install lint types tests docs

$(VENV)/base: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) -e .
	touch $@

install: $(VENV)/full
$(VENV)/full: $(VENV)/base
	$(UV) -e '.[located,offline,hub,llm,tune,serve,dev]'
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

tests: install
	$(BIN)/python -m pytest -n 2 --dist loadfile # a file's tests share what they train

docs: install
	$(BIN)/mkdocs build --strict --quiet

figures: install ## the slow measurements that the docs quote
	$(BIN)/python benchmarks/read.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/adapt.py
	$(BIN)/python benchmarks/bench_rows.py
	$(BIN)/python benchmarks/llm_client.py
	$(BIN)/python benchmarks/synthesize_calls.py
	$(BIN)/python benchmarks/real_server.py
	$(BIN)/python benchmarks/popi_speed.py
	$(BIN)/python benchmarks/two_processes.py
	$(BIN)/python benchmarks/serve_load.py
	$(BIN)/python benchmarks/serve_scale.py
	$(BIN)/python benchmarks/serve_faults.py
	$(BIN)/python benchmarks/serve_faults.py --postgresql
	$(BIN)/palate small study --users 600 --out palate-out/study

constraints: $(VENV)/base ## pin again after a change of dependencies
	$(BIN)/uv pip compile --quiet --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header -c torch.pin --all-extras pyproject.toml | grep -v -E '^(nvidia|cuda|triton)' > constraints.txt

clean:
	rm -rf $(VENV) palate-out site .pytest_cache .mypy_cache .ruff_cache
