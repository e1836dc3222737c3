# Two commands set everything up: `make demo` runs the whole story, `make test` checks everything.
# Both create .venv when it is missing or older than setup.cfg. Lava needs Python 3.10.

.PHONY: demo test test-starters test-first test-second docs bench clean
BIN := .venv/bin
STAMP := .venv/.installed

demo: $(STAMP)
	$(BIN)/decolle-hw demo

# Tests in three parts side by side: those that start processes wait a lot. Tensors of tests are small: threads that wait
# for each other by spinning cost more than they give.
STARTERS := $(wildcard $(addprefix sim_tests/test_,lava*.py netx.py execution.py accuracy.py readme.py verify.py \
    chain.py planted_faults.py cli.py train_interrupt.py import_netx_lava.py \
    page_browser.py demo.py new_user.py docs_site.py learning_lava.py learning_session.py output_layer.py online_cli.py \
    stream_cli.py stream_lava.py))
OTHERS := $(filter-out $(STARTERS),$(wildcard sim_tests/test_*.py))
FIRST := $(filter $(wildcard sim_tests/test_[a-i]*.py),$(OTHERS))
# What each part prints comes at its end, where make knows how (from version 4 on).
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	+$(MAKE) --no-print-directory $(SYNC) --jobs=3 test-starters test-first test-second

test-starters: $(STAMP)
	$(PYTEST) -p no:cacheprovider $(STARTERS)

test-first: $(STAMP)
	$(PYTEST) $(FIRST)

test-second: $(STAMP)
	$(PYTEST) -p no:cacheprovider $(filter-out $(FIRST),$(OTHERS))

# Tutorials and the Python reference, in site/; needs no network.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# NMNIST: a folder with recordings, FOLDER/{train,test}/<digit>/*.bin
bench: $(STAMP)
	$(BIN)/python benchmarks/train_throughput.py --data $(NMNIST)
	$(BIN)/python benchmarks/simulator.py --random cuba decolle
	$(BIN)/python benchmarks/run_memory.py

clean:
	rm -rf .venv build site *.egg-info

# The stamp is written last: an interrupted installation starts again. A candidate inside a virtual environment stands
# for the interpreter it was made from, as the environment may be the one that is about to be replaced.
$(STAMP): setup.cfg pyproject.toml
	@for candidate in python3.10 python3 python \
	    "$$(pyenv prefix 3.10 2>/dev/null)/bin/python" \
	    "$$(ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10*/bin/python 2>/dev/null | tail -n 1)" \
	    "$$(uv python find 3.10 2>/dev/null)"; do \
	  python="$$("$$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable) if sys.version_info[:2] == (3, 10) else "")' 2>/dev/null)"; \
	  if [ -n "$$python" ]; then break; fi; \
	done; \
	if [ -n "$$python" ]; then echo "creating .venv with $$python"; rm -rf .venv; "$$python" -m venv .venv; \
	elif command -v uv >/dev/null; then echo "creating .venv with uv"; rm -rf .venv; uv venv --seed --python 3.10 .venv; \
	else echo "Python 3.10 not found: install it (pyenv install 3.10, uv python install 3.10, or your system's python3.10) and run make again" >&2; exit 1; fi
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test]'
	@touch $@
