# make demo   a first search on real photos, in a minute or two
# make test   the tests
# make lint   ruff and mypy
# make web-test     the web page in Chromium
# make screenshots  pictures of the web page, into docs/
# make faults power cuts, kills and failing disks by the thousand: docs/reliability.md (15 to 30 minutes; Linux)
# make fuzz   bad bytes of every kind, and 10,000 damaged pictures through the decode workers (40 minutes)
# make audit  the promises of SECURITY.md, then known holes in what we depend on (asks the network)
#
# All share one environment, .venv, made on first use. Another Python: make PYTHON=python3.12 test

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo web-test screenshots test lint faults fuzz audit clean

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
	@$(BIN)/python -m pytest -n 2 --dist loadfile

# Chromium: apt-get install chromium. axe-core finds what screen readers cannot use; it is fetched, not kept in the repository
web-test: .venv/installed build/axe.min.js
	@MMSEARCH_AXE=build/axe.min.js $(BIN)/python -m pytest tests/web -m 'browser or not browser'

build/axe.min.js:
	@mkdir -p build && cd build && npm pack --silent axe-core@4 >/dev/null && tar -xzf axe-core-*.tgz package/axe.min.js \
	  && mv package/axe.min.js . && rm -rf package axe-core-*.tgz || echo "axe-core could not be fetched: its tests are skipped"

screenshots: .venv/installed
	@$(BIN)/python docs/screenshots.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

faults: .venv/installed
	@$(BIN)/python benchmarks/faults/run.py --kills 500 --states 5000

fuzz: .venv/installed
	@$(BIN)/python benchmarks/faults/fuzz.py
	@$(BIN)/python benchmarks/faults/pool.py

# pip-audit lives in an environment of its own, so that what audits is not among what is audited
audit: .venv/installed
	@$(BIN)/python -m pytest -q --durations=0 tests/test_safety.py
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; } || true
	@$(BIN)/python benchmarks/audit.py --pip-audit build/audit/bin/pip-audit \
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
