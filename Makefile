# Every target makes what it needs from a bare checkout: CPython 3.12 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Tests start many processes, each of which would compile all that it imports where bytecode is not kept.
export PYTHONDONTWRITEBYTECODE :=
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/pycache

.PHONY: help demo test test-quick furniture lint types pytest test-slow test-gpu format docs notebooks pictures bench real-crowds worlds panels opinions estimates label-studio paper sbc accelerators clean

help:
	@echo "make demo         simulate a crowd and compare the methods"
	@echo "make test         lint, types and tests"
	@echo "make test-quick   lint, types, kernels, contracts and one command from end to end: while you work"
	@echo "make furniture    is everything beside the code there and true? citation, recipe, workflows, logo ..."
	@echo "make test-slow    the tests that take minutes, and properties on many more examples"
	@echo "make test-gpu     the tests that need an accelerator"
	@echo "make lint format  check or mend the layout of the code"
	@echo "make docs         build the documentation into build/docs"
	@echo "make bench        measure speed, JSON into build/bench*.json and docs/benchmarks.json (TORCH=python with torch and transformers: training too)"
	@echo "make pictures     draw those pictures of README and docs anew that are not up to date (DATA=folder of sets BROWSER=chromium)"
	@echo "make notebooks    run the notebooks and keep what they show (NAMES=\"01_quickstart ...\")"
	@echo "make accelerators compile for a GPU and a TPU that are not there, and see what the compilers make of it (minutes)"
	@echo "make paper        repeat the paper's simulations: build/paper, and the tables of the docs"
	@echo "make sbc          is the inference right? simulations of every model and method, tables of the docs"
	@echo "make real-crowds  measure quality on real crowds (DATA=folder of sets)"
	@echo "make estimates    do intervals of shares hold? many draws of gold (DATA=folder of sets WORLDS=folder of worlds.py)"
	@echo "make panels       is what is said of panels of judges true? simulated ones (WORLDS=folder of worlds.py)"
	@echo "make worlds       measure quality on simulated crowds whose truth is known (WORLDS=folder of worlds.py)"
	@echo "make label-studio run the live loop on the real Label Studio, with scripted annotators (its installation takes minutes)"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' \
		|| { echo "Python 3.12 or newer is needed: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# In seconds by uv; where it is not to be had or finds no registry, in minutes by pip.
install = { $(PIP) install --quiet uv && $(BIN)/python -m uv pip install --quiet --system-certs --python $(BIN)/python --editable '$(1)'; } \
	|| $(PIP) install --quiet --no-compile --editable '$(1)'

$(VENV)/.plain: $(BIN)/python pyproject.toml
	$(call install,.)
	@touch $@

# Both at once, for who needs both: what is to be installed is looked up once.
COMMA := ,
$(VENV)/.test $(VENV)/.docs $(VENV)/.docs$(COMMA)test: $(VENV)/.%: $(BIN)/python pyproject.toml
	$(call install,.[$*])
	@touch $@ $(VENV)/.plain $(addprefix $(VENV)/.,$(subst $(COMMA), ,$*))

demo: $(VENV)/.plain
	$(BIN)/gtx-bayes demo --output build/demo

# Compiled functions are shared between workers, the commands that tests start, and one run and the next.
pytest test-quick test-slow sbc: export JAX_COMPILATION_CACHE_DIR = $(CURDIR)/build/jax-cache
pytest test-quick test-slow: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS = 0

test: lint types pytest

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.test
	$(BIN)/mypy --num-workers 2

# All in float32; in float64 the kernels, the conjugate updates and the calibration, but for what is drawn, which is as
# uncertain in either. A worker takes whole files, with their fixtures and what it has traced for them, until the other has
# none left. Compiling is most of the time: LLVM's passes are left out, but where kernels are compared with products, and
# no program is cut for threads.
FLOAT64_TESTS := $(addprefix tests/test_,log_space.py decisions.py labelers.py::TestEveryForm priors.py::TestClassConditional \
	conjugate.py gold.py em.py gibbs.py::test_gold_alone_is_the_conjugate_beta calibration.py $(addprefix posterior.py::,\
	test_worked_by_hand test_definition_and_kernels_against_products test_large_sums_that_cancel test_log_evidence \
	TestCertainLabelers test_log_odds TestUpdate))
FLOAT64_TESTS += --deselect=tests/test_gold.py::TestNuts
pytest: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1
pytest: export XLA_FLAGS = --xla_cpu_parallel_codegen_split_count=1
pytest: $(VENV)/.test
	JAX_ENABLE_X64=0 $(BIN)/pytest -n 2 --dist=worksteal -m "not slow"
	JAX_ENABLE_X64=1 $(BIN)/pytest -n 2 --dist=worksteal -m "not slow and not end_to_end" $(FLOAT64_TESTS)

# Kernels and contracts without what compiles longest, and the README's example from end to end.
QUICK_TESTS := $(addprefix tests/test_,architecture.py furniture.py registry.py exported_members.py terminal.py log_space.py \
	lookup.py labels.py decisions.py metrics.py posterior.py aggregation.py::TestContract readme.py)
QUICK_TESTS += $(addprefix --deselect=tests/test_,posterior.py::test_definition_and_kernels_against_products \
	posterior.py::test_prefixes_are_the_first_answers posterior.py::test_priors posterior.py::TestCertainLabelers::test_limit \
	terminal.py::test_every_command_names_the_next)
test-quick: export JAX_DISABLE_MOST_OPTIMIZATIONS = 1
test-quick: lint types
	JAX_ENABLE_X64=0 $(BIN)/pytest -n 2 --dist=worksteal -m "not slow" $(QUICK_TESTS)

furniture: $(VENV)/.test
	$(BIN)/python -m tests.furniture

test-slow: $(VENV)/.test
	$(BIN)/pytest -n 2 --dist=worksteal -m slow
	$(BIN)/pytest -n 2 --dist=worksteal -m "not slow and not end_to_end" --hypothesis-profile=thorough \
		tests/test_posterior.py tests/test_em.py tests/test_split.py

test-gpu: $(VENV)/.test
	$(BIN)/pytest -m "gpu or kernel"

format: $(VENV)/.test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env docs build/docs

.venv-peers/.installed: $(BIN)/python
	$(PYTHON) -m venv .venv-peers || { rm -rf .venv-peers; exit 1; }
	.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet 'crowd-kit==1.4.2' 'cleanlab==2.9.0' 'scikit-learn<1.6'
	@touch $@

bench: $(VENV)/.test .venv-peers/.installed
	$(BIN)/python -m tests.benchmarks.kernels --peers .venv-peers/bin/python --output build/bench.json
	$(BIN)/python -m tests.benchmarks.collection --growth --output build/bench_collection.json
	$(BIN)/python -m tests.benchmarks.joint --peers .venv-peers/bin/python --output build/bench_joint.json
	$(BIN)/python -m tests.benchmarks.state --output build/bench_state.json
	$(BIN)/python -m tests.benchmarks.start_up --output build/bench_start_up.json
	$(BIN)/python -m tests.benchmarks.scale --peers .venv-peers/bin/python --output build/bench_scale.json
	$(BIN)/python -m tests.benchmarks.streaming --output build/bench_streaming.json
	$(BIN)/python -m tests.benchmarks.spread --output docs/spread_table.md
	JAX_PLATFORMS=cpu $(BIN)/python -m tests.benchmarks.devices --output build/bench_devices.json
	$(if $(TORCH),$(BIN)/python -m tests.benchmarks.training --torch $(TORCH) --output build/bench_training.json)
	$(BIN)/python -m tests.benchmarks.together build/bench*.json --output docs/benchmarks.json

docs/images/logo.svg: docs/_ext/logo.py
	$(PYTHON) docs/_ext/logo.py $@

# Those that are not up to date: DATA is a folder of crowds, BROWSER takes a picture of the report.
pictures: $(VENV)/.test docs/images/logo.svg
	$(BIN)/python -m tests.pictures $(NAMES) $(if $(DATA),--data $(DATA)) $(if $(BROWSER),--browser $(BROWSER))

notebooks: $(VENV)/.test
	$(BIN)/python -m tests.notebooks $(NAMES)

paper: $(VENV)/.test
	for name in table1 table2 figure1 figure2 assessment optimality policies; do \
		$(BIN)/gtx-bayes reproduce $$name --output build/paper || exit 1; \
	done
	$(BIN)/gtx-bayes reproduce table2 --runs 100 --output build/paper/more
	$(BIN)/gtx-bayes plan --target-error 0.05 --num-examples 10000 --output build/paper
	for name in table1 figure1 figure2 assessment optimality policies plan; do \
		cp build/paper/$$name.png docs/images && $(BIN)/python -m tests.pictures $$name --record || exit 1; \
	done
	$(BIN)/python -m tests.benchmarks.paper build/paper --output docs/reproducing_tables.md

sbc: $(VENV)/.test
	$(BIN)/python -m tests.benchmarks.sbc --output docs/sbc_table.md --plot docs/images/sbc.png
	$(BIN)/python -m tests.pictures sbc --record
	$(BIN)/python -m tests.benchmarks.coverage --output docs/coverage_table.md

real-crowds: $(VENV)/.test .venv-peers/.installed
	@test -n "$(DATA)" || { echo "Say where the crowds are: make real-crowds DATA=FOLDER"; exit 1; }
	$(BIN)/python -m tests.benchmarks.real_crowds $(DATA) --peers .venv-peers/bin/python --output docs/real_crowds_table.md --json docs/quality.json
	$(BIN)/python -m tests.benchmarks.dependence $(DATA) --output docs/dependence_table.md

worlds: $(VENV)/.test
	@test -n "$(WORLDS)" || { echo "Say where worlds.py is: make worlds WORLDS=FOLDER"; exit 1; }
	$(BIN)/python -m tests.benchmarks.worlds $(WORLDS) --output docs/worlds_table.md

opinions: $(VENV)/.test .venv-peers/.installed
	$(BIN)/python -m tests.benchmarks.opinions --peers .venv-peers/bin/python --output docs/opinions_table.md

panels: $(VENV)/.test
	@test -n "$(WORLDS)" || { echo "Say where worlds.py is: make panels WORLDS=FOLDER"; exit 1; }
	$(BIN)/python -m tests.benchmarks.panels $(WORLDS) --output docs/panels_table.md

# Packages that estimate shares, 500 MB, have an environment of their own.
.venv-shares/.installed: $(BIN)/python
	$(PYTHON) -m venv .venv-shares || { rm -rf .venv-shares; exit 1; }
	.venv-shares/bin/python -m pip --disable-pip-version-check install --quiet 'ppi-python==0.2.3' 'truescore==0.7.4' 'cje-eval==0.9.3'
	@touch $@

estimates: $(VENV)/.test .venv-shares/.installed
	@test -n "$(DATA)" -a -n "$(WORLDS)" || { echo "Say where crowds and worlds.py are: make estimates DATA=FOLDER WORLDS=FOLDER"; exit 1; }
	$(BIN)/python -m tests.benchmarks.estimates $(DATA) --worlds $(WORLDS) --peers .venv-shares/bin/python --output docs/estimates_table.md

# The server, 1 GB, has an environment of its own.
.venv-label-studio/.installed: $(BIN)/python
	$(PYTHON) -m venv .venv-label-studio || { rm -rf .venv-label-studio; exit 1; }
	.venv-label-studio/bin/python -m pip --disable-pip-version-check install --quiet 'label-studio==1.23.2'
	@touch $@

label-studio: $(VENV)/.test .venv-label-studio/.installed
	$(BIN)/python -m tests.benchmarks.label_studio --label-studio .venv-label-studio/bin/label-studio \
		--output build/label_studio.json --transcript docs/label_studio_run.txt

# The compilers, 2 GB, have an environment of their own; the GPU's come without its libraries, which nothing here runs.
.venv-accelerators/.installed: $(BIN)/python pyproject.toml
	$(PYTHON) -m venv .venv-accelerators || { rm -rf .venv-accelerators; exit 1; }
	.venv-accelerators/bin/python -m pip --disable-pip-version-check install --quiet --no-compile --editable '.[finetune]' libtpu
	.venv-accelerators/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
		jax-cuda12-plugin jax-cuda12-pjrt nvidia-cuda-nvcc-cu12
	@touch $@

accelerators: .venv-accelerators/.installed
	.venv-accelerators/bin/python -m tests.benchmarks.accelerators \
		--json build/accelerators.json --output docs/accelerators_table.md

clean:
	rm -rf build $(VENV) .venv-peers .venv-shares .venv-label-studio .venv-accelerators
