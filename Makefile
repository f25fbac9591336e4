# make demo   set up, then the whole way on a synthetic set, from photographs to a submission
# make test   set up, lint, and run the tests
# make setup  only the environment, .venv
# Another Python: make demo PYTHON=python3.10 (3.9 to 3.11 for this TensorFlow).
PYTHON ?= python3.11
VENV ?= .venv
DEMO ?= demo
LOCK := requirements/classic.txt
STAMP := $(VENV)/.installed

.PHONY: setup demo test lint lock clean

setup: $(STAMP)

$(STAMP): $(LOCK) setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' || \
	  { echo "cloudtf needs Python 3.9 to 3.11 here; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python -r $(LOCK)
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --no-deps --editable .
	@touch $(STAMP)

demo: setup
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" tools/demo.sh $(DEMO)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

test: lint
	$(VENV)/bin/python -m pytest -n auto --dist loadfile

# Renews the pinned versions from setup.cfg.
lock: setup
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.9 --no-header \
	  --extra classic --extra dev --output-file $(LOCK) --upgrade setup.cfg

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info
