# make demo   a first search on real photos, in a minute or two
# make test   the tests
# make lint   ruff and mypy
# make faults power cuts, kills and failing disks by the thousand: docs/reliability.md (15 to 30 minutes; Linux)
# make audit  known holes in what we depend on (asks the network)
#
# All share one environment, .venv, made on first use. Another Python: make PYTHON=python3.12 test

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test lint faults audit clean

demo: .venv/installed
	@$(BIN)/python data/gather.py data/photos
	@rm -rf data/photos/.mmsearch
	@$(BIN)/mmsearch -c data/photos/.mmsearch index data/photos --model mini --captions sidecar
	@for words in "a cat" "a cup of coffee" "a rocket"; do \
	  echo; echo "\$$ mmsearch query \"$$words\" --top 3"; \
	  $(BIN)/mmsearch -c data/photos/.mmsearch query "$$words" --top 3; done
	@echo; echo "\$$ mmsearch query --kind text -i coffee.png --top 3        (captions for a photo)"
	@$(BIN)/mmsearch -c data/photos/.mmsearch query --kind text -i data/photos/coffee.png --top 3
	@echo; echo "Next, with your own photos:"
	@echo "    . .venv/bin/activate"
	@echo "    mmsearch index ~/Pictures"
	@echo "    mmsearch query \"a cat sleeping\""
	@echo "README.md tells the rest."

test: .venv/installed
	@$(BIN)/ruff check --quiet .
	@$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

faults: .venv/installed
	@$(BIN)/python benchmarks/faults/run.py --kills 500 --states 5000

# in an environment of its own, so that what audits is not among what is audited
audit: .venv/installed
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; }
	@build/audit/bin/pip-audit --progress-spinner off \
	  --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

.venv/installed: pyproject.toml
	@echo "Making the environment in .venv (torch is large: a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "mmsearch needs Python 3.11 or later; $(PYTHON) is older. Run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --quiet --editable '.[dev,demo]'
	@touch $@

clean:
	rm -rf .venv data/photos build dist
