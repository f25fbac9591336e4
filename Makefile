# make demo          set up, then every step on a synthetic set, from photographs to a submission
# make test          set up, lint, and run the tests
# make setup         only the environment, .venv
# make test-current  the tests with today's TensorFlow, in .venv-current
# make smoke-current the shortest of them: a whole job, resuming, model files, RAdam
# make test-beam     the tests of convert --engine=beam, in .venv-beam
# make test-slow     whole commands, installing on every Python that is there, the notebook as it is
# make test-all      the tests on classic, and on current with Python 3.11 and 3.13, and the slow ones
# make fuzz          10,000 damaged inputs for each parser, and how many were refused; see tests/README.md
# make coverage      the tests, and the lines and branches of the library that they do not reach
# make notebook      runs notebooks/colab.ipynb in an environment like Colab's and saves its outputs
# Another Python: make demo PYTHON=python3.10, make test-current PYTHON=python3.13.
# classic (TensorFlow 2.15, Python 3.9 to 3.11), current (the newest, Python 3.10 to 3.13), beam (for
# convert --engine=beam), or notebook (what Colab has, as far as is known: TensorFlow 2.20 and Python 3.13).
STACK ?= classic
PYTHON ?= python3.$(if $(filter notebook,$(STACK)),13,11)
VENV ?= .venv$(if $(filter-out classic,$(STACK)),-$(STACK))
DEMO ?= demo
FUZZ_INPUTS ?= 10000
LOCK := requirements/$(STACK).txt
STAMP := $(VENV)/.installed
RANGE := $(if $(filter-out classic,$(STACK)),3.10 to 3.13,3.9 to 3.11)
MINORS := $(if $(filter-out classic,$(STACK)),10 11 12 13,9 10 11)
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
CURRENT := $(MAKE) STACK=current
# Pinned as all else is: what resolved and installed the lock files.
UV := uv==0.13.9
# Seconds without a byte; TensorFlow is half a gigabyte, and lines differ.
export UV_HTTP_TIMEOUT ?= 300

.PHONY: setup interpreter demo test lint lock clean smoke test-current smoke-current test-beam \
  test-slow test-all fuzz coverage notebook

setup: $(STAMP)

# An environment that is there is used with the Python that it has, unless one is asked for.
interpreter:
ifeq ($(origin PYTHON),command line)
	@[ ! -e $(VENV)/bin/python ] || { \
	  asked=$$($(PYTHON) -c '$(VERSION)') && has=$$($(VENV)/bin/python -c '$(VERSION)') || exit 1; \
	  [ "$$asked" = "$$has" ] || { echo "$(VENV) has Python $$has, not the $$asked of" \
	    "PYTHON=$(PYTHON); remove it, or add VENV=.venv-$$asked for another one."; exit 1; }; }
endif

$(STAMP): $(LOCK) setup.cfg pyproject.toml | interpreter
	@$(PYTHON) -c 'import sys; sys.exit(str(sys.version_info[1]) not in sys.argv[1:])' $(MINORS) || \
	  { echo "cloudtf needs Python $(RANGE) here; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	@# Bytecode once, or each command may spend seconds on compiling TensorFlow's modules.
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python -r $(LOCK)
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --editable .
	@touch $(STAMP)

demo: setup
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/demo.sh $(DEMO)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: lint
	$(VENV)/bin/python -m pytest -n auto --dist loadfile

smoke: setup
	$(VENV)/bin/python -m pytest tests/model/test_optimizers.py tests/test_end_to_end.py \
	  tests/data/test_other_kinds.py tests/training/test_resume.py -k 'not killed_at_many_points'

test-current:
	$(CURRENT) test

smoke-current:
	$(CURRENT) smoke

test-beam:
	$(MAKE) STACK=beam setup
	.venv-beam/bin/python -m pytest tests/data/test_beam.py tests/data/test_tasks.py

test-slow: setup
	$(VENV)/bin/python -m pytest -n auto --dist load -m slow

fuzz: setup
	CLOUDTF_FUZZ_INPUTS=$(FUZZ_INPUTS) $(VENV)/bin/python -m pytest -n auto --dist load \
	  --confcutdir=tests/fuzz -o timeout=0 tests/fuzz

coverage: setup
	$(VENV)/bin/python -m pytest -n auto --dist loadfile --cov

notebook:
	$(MAKE) STACK=notebook setup
	.venv-notebook/bin/python tools/run_notebook.py notebooks/colab.ipynb

test-all:
	$(MAKE) test
	$(MAKE) test-slow
	$(MAKE) test-beam
	$(CURRENT) test PYTHON=python3.11 VENV=.venv-current-3.11
	$(CURRENT) test PYTHON=python3.13 VENV=.venv-current-3.13

# Renews the pinned versions from setup.cfg.
lock: setup
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.9 --no-header \
	  --extra classic --extra dev --output-file requirements/classic.txt --upgrade setup.cfg
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --no-header \
	  --extra current --extra dev --output-file requirements/current.txt --upgrade setup.cfg
	printf 'pytest>=7.4\npytest-timeout>=2.2\n' | \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --no-header \
	  --extra beam --output-file requirements/beam.txt --upgrade setup.cfg -
	printf 'tensorflow==2.20.*\ntf-keras==2.20.*\nsetuptools<81\nipykernel\nnbclient\n' | \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --no-header \
	  --output-file requirements/notebook.txt --upgrade setup.cfg -

clean:
	rm -rf .venv .venv-beam .venv-notebook .venv-current* $(DEMO) build *.egg-info
