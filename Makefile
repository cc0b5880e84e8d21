# Every target does its own set-up: Python 3.11 or newer and make are all that a machine needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/.bench
DOCS := .venv/.docs
COMMA := ,
# A list of experiments has a directory of its own, whose name is not too long for a file system.
REPRODUCED = $(if $(findstring $(COMMA),$(NAME)),list-$(firstword $(shell echo '$(NAME)' | cksum)),$(NAME))
STAMP := $(shell date +%Y-%m-%d_%H-%M-%S)

# Images of containers often set it; each command would then compile all that it imports again, two
# thirds of the time of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help train demo test check docs wheel smoke reproduce tables bench report clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: $(READY) ## train and test; ARGS="dataset=omniglot algorithm=maml" says what
	$(BIN)/python -m metalearn $(ARGS)

demo: $(READY) ## train once, then draw characters on a page and see who each is; ARGS="RUN" uses another run
	$(BIN)/python -m metalearn.demo $(ARGS)

test: $(READY) ## run the tests; ARGS="-k norm" says which
	$(BIN)/python -m pytest $(ARGS)

check: $(READY) ## look for style, type, layering and spelling errors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

docs: $(DOCS) ## build the site of the pages in build/docs; broken links are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

wheel: $(READY) ## build the wheel, and use it in an environment that has its dependencies alone
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel .
	$(PYTHON) -m venv build/wheel/env
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(build/wheel/env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/dependencies.pth"
	build/wheel/env/bin/python -m pip install --quiet --no-deps --force-reinstall build/wheel/*.whl
	scripts/wheel/try.sh build/wheel/env/bin/python

smoke: $(READY) ## train every algorithm on glyphs for 45 seconds and compare them
	$(BIN)/python -m metalearn -m 'algorithm=glob(*)' trainer.max_time=00:00:00:45 \
		hydra.sweep.dir=outputs/sweeps/smoke-$(STAMP) $(ARGS)
	$(BIN)/python -m metalearn.report outputs/sweeps/smoke-$(STAMP)

reproduce: $(READY) ## run published settings; NAME=snell2017_omniglot_5w1s or a list with commas, what is finished is skipped
	$(BIN)/python -m metalearn -m experiment=$(NAME) hydra.sweep.dir=outputs/sweeps/reproduce/$(REPRODUCED) $(ARGS)

tables: $(READY) ## write the tables and learning curves of the pages from docs/records/
	$(BIN)/python scripts/write_tables.py
	$(BIN)/python scripts/write_curves.py

bench: $(BENCH) ## time training and evaluation against other libraries, and write docs/benchmarks.md
	$(BIN)/python scripts/bench $(ARGS)

report: $(READY) ## compare finished runs, on a page too; ARGS="outputs/sweeps/NAME" says which
	$(BIN)/python -m metalearn.report --write outputs/report $(or $(ARGS),outputs)

clean: ## remove what make and python made; outputs/ and data/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Python compiles what it imports; pip would compile all 22,000 files first.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("metalearn needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev,wandb-report,tensorboard,mlflow,postgresql,slurm]'
	@touch $(READY)

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $(DOCS)

$(BENCH): $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]' \
		&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps easyfsl==1.5.0 && touch $(BENCH) \
		|| echo "make: not all peers could be installed; the table says which are missing" >&2
