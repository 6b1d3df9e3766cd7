# Two commands matter: `make run` (the demo) and `make test`. Everything else serves them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := $(wildcard wsproxy/_fast/*/*.pyx wsproxy/_fast/*/*.pxd) $(wildcard wsproxy/bench/*.pyx)

.PHONY: help run test build wheel deb build-debug test-asan fuzz soak lint drills bench bench-smoke bench-gate readme ci clean
help:            ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: build       ## wsproxy in front of an embedded demo cluster of three app servers
	$(BIN)/wsproxy demo

# Three at a time keep two cores busy: many tests wait for a process or for a limit of time.
test: build      ## all tests (lint and AddressSanitizer runs: make ci)
	@scripts/test-programs >&2 || echo "tests that need one of these are skipped, and say so" >&2
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

build: $(VENV)/.built ## .venv/ with .venv/bin/wsproxy in it

$(VENV)/.installed: pyproject.toml scripts/bootstrap
	scripts/bootstrap $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.installed setup.py $(SOURCES)
	$(BIN)/python setup.py --quiet build_ext --inplace
	@touch $@

deb:             ## build/deb/*.deb for this Debian, of the wheel in dist/ (apt install debhelper python3-venv python3-pip)
	scripts/deb $(PYTHON)

build-debug: $(VENV)/.installed ## extensions with bounds checks and asserts, in place
	WSPROXY_DEBUG=1 $(BIN)/python setup.py --quiet build_ext --inplace --force
	@rm -f $(VENV)/.built

wheel:           ## dist/*.whl that works on any glibc Linux since 2014, without a compiler there
	scripts/wheel $(PYTHON)

test-asan: $(VENV)/.installed ## parsers, and whole proxies, under AddressSanitizer
	scripts/test-asan $(BIN)/python

fuzz: $(VENV)/.installed ## parsers under libFuzzer, and traffic, with ASAN: TIME=60 (s each), TARGET=name (one)
	scripts/fuzz $(BIN)/python $(if $(TIME),--time $(TIME)) $(if $(TARGET),--target $(TARGET)) \
		$(if $(SEED),--seed $(SEED)) $(if $(CASES),--cases $(CASES)) $(if $(VARIANT),--variant $(VARIANT))

soak: build      ## an hour of reloads, drains, probes and kills under load: TIME=60 (minutes), SEED=1
	$(BIN)/python -m tests.soak $(if $(TIME),--minutes $(TIME)) $(if $(SEED),--seed $(SEED))

drills: build    ## two faults at once, by chance, never two holders: COUNT=100, SEED=1, KIND=pair or group (root, namespaces)
	$(BIN)/python -m tests.drills $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(if $(KIND),--kind $(KIND))

lint: build      ## ruff, mypy --strict, cython-lint, import-linter, codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/cython-lint --max-line-length 126 wsproxy/_fast wsproxy/bench
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: build     ## side by side with nginx, HAProxy and httpd; results in bench/results/
	$(BIN)/wsproxy bench --results bench/results

bench-smoke: build
	$(BIN)/wsproxy bench --smoke

readme: build    ## the table of README.md, from the result files that it names
	$(BIN)/python -m bench.readme

bench-gate: build ## instructions of the fast path against those kept: a function that grew fails; KEEP=1 keeps what is counted
	$(BIN)/python -m bench.instructions $(if $(KEEP),--keep) || [ $$? = 3 ]

ci: lint test test-asan bench-gate ## what .ci/run calls

clean:           ## remove everything that was built
	rm -rf $(VENV) build dist *.egg-info
	find wsproxy tests bench -name '__pycache__' -prune -exec rm -rf {} +
	find wsproxy -name '*.so' -delete
