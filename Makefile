# Two commands: `make run` serves the gateway on simulated data, `make test` runs every test.
PYTHON ?= python3
BIN := .venv/bin
EXPLORER := gateway/explorer
EXAMPLE := examples/booking-page

.PHONY: run example test lint setup explorer schema picture sbom fuzz bench bench-micro lock clean

run: setup
	@$(BIN)/gateway dev

# The booking page beside the gateway on simulated data, until Ctrl-C stops both.
EXAMPLE_PORT ?= 5173

example: export VITE_GATEWAY_URL = http://127.0.0.1:$(or $(GATEWAY_PORT),8000)/graphql
example: setup $(EXAMPLE)/node_modules/.package-lock.json
	@cd $(EXAMPLE) && npm run --silent build
	@$(EXAMPLE)/node_modules/.bin/vite preview $(EXAMPLE) --port $(EXAMPLE_PORT) & page=$$!; \
		trap 'kill $$page 2>/dev/null || true' EXIT INT TERM; $(BIN)/gateway dev

$(EXAMPLE)/node_modules/.package-lock.json: $(EXAMPLE)/package-lock.json
	cd $(EXAMPLE) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

# Several at a time, since most of them wait; the tests of a file stay together. What Python compiles is kept, whatever
# the machine wants, since these processes and all that they start would compile it anew.
test: export PYTHONDONTWRITEBYTECODE :=
test: setup
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# The image's Python; the oldest stands in pyproject.toml.
NEWEST := $(shell sed -n 's/^ARG PYTHON_VERSION=//p' Dockerfile)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version $(NEWEST)
	$(BIN)/lint-imports --no-logo
	$(BIN)/deptry .
	$(BIN)/pip-licenses --packages $(SHIPPED) >/dev/null

# The packages of the runtime and its extras; pip-licenses says on standard error which licence may not be shipped.
SHIPPED = $(shell sed -n 's/^\([^ =]*\)==.*/\1/p' requirements/extras.txt)

setup: .venv/.ready explorer-if-possible

# An environment of another Python than the one that is asked for is made anew.
ifneq ($(origin PYTHON),file)
ifneq ($(shell $(PYTHON) -V),$(shell $(BIN)/python -V 2>/dev/null))
ANEW := --clear
.PHONY: .venv/.ready
endif
endif

# pip of Python 3.11 knows no --group, so the lock of the development tools is a file of its own.
.venv/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python -a -z '$(ANEW)' || $(PYTHON) -m venv $(ANEW) .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: explorer-if-possible
explorer-if-possible:
	@if ! command -v npm >/dev/null 2>&1; then \
		echo "npm is not installed, so GraphiQL is not built; the API works all the same."; \
	elif ! $(MAKE) --no-print-directory gateway/http/static/index.html; then \
		echo "GraphiQL could not be built (is Node.js older than 20?); the API works all the same."; fi

explorer: gateway/http/static/index.html

gateway/http/static/index.html: $(shell git ls-files $(EXPLORER) 2>/dev/null)
	cd $(EXPLORER) && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	touch $@

schema: setup
	$(BIN)/gateway schema > schema.graphql

# Lists what changed for clients since the last tag, and fails where a change breaks them.
check-schema: setup
	$(BIN)/python -m tests.house.schema_changes

# The pictures of the README: GraphiQL and the booking page, as Chromium shows them.
picture: setup
	TESTS_REQUIRE=browser PICTURE=docs/graphiql.png $(BIN)/python -m pytest -q tests/e2e/test_picture.py
	TESTS_REQUIRE=browser,node PICTURE=docs/booking-page.png $(BIN)/python -m pytest -q tests/example -k picture

# Queries that are made from the schema, against a running gateway; and the engine beside graphql-core's executor, with
# more examples than `make test` has: about four minutes a thousand.
FUZZ_EXAMPLES ?= 5000
COMPARED := tests/unit/engine/test_executor.py tests/unit/engine/test_executor_booking.py \
	tests/unit/engine/test_budget_properties.py tests/integration/schema/test_answers_under_faults.py

fuzz: .venv/.fuzz
	TESTS_REQUIRE=fuzz $(BIN)/python -m pytest tests/fuzz $(PYTEST_ARGS)
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python -m pytest -n 3 $(COMPARED) $(PYTEST_ARGS)

# An environment of its own, since Schemathesis is a plugin of every pytest that it is installed beside.
.venv/.fuzz: requirements/fuzz.txt .venv/.ready
	$(BIN)/python -m venv --clear .venv/fuzz
	.venv/fuzz/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	touch $@

# What the runtime is made of; in an environment of its own, so that the tool's packages are not among them.
sbom: .venv/.sbom
	.venv/sbom/bin/python requirements/sbom.py $(BIN)/python > sbom.json

.venv/.sbom: requirements/sbom.txt .venv/.ready
	$(BIN)/python -m venv --clear .venv/sbom
	.venv/sbom/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/sbom.txt
	touch $@

# Some minutes; for some of it: make bench BENCH_ARGS="--rounds 1 --scenario small"
bench: .venv/.bench
	$(BIN)/python -m benchmarks.run $(BENCH_ARGS)

bench-micro: .venv/.bench
	$(BIN)/python -m pytest benchmarks/micro $(PYTEST_ARGS)

.venv/.bench: requirements/bench.txt .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	touch $@

# After a change of dependencies in pyproject.toml, tests/fuzz/requirements.in or requirements/sbom.in.
lock: .venv/.ready
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --extra tracing -c requirements/runtime.txt pyproject.toml -o requirements/tracing.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --extra tracing --extra shared -c requirements/tracing.txt pyproject.toml -o requirements/extras.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --group dev --extra tracing --extra shared -c requirements/extras.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --group bench -c requirements/dev.txt pyproject.toml -o requirements/bench.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" -c requirements/dev.txt tests/fuzz/requirements.in -o requirements/fuzz.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" requirements/sbom.in -o requirements/sbom.txt

clean:
	rm -rf .venv gateway/http/static $(EXPLORER)/node_modules $(EXAMPLE)/node_modules $(EXAMPLE)/dist $(EXAMPLE)/src/gql
