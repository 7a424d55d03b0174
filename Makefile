# flexnm: every task of the project, one command each. `make` alone lists them.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

PYTHON ?= python3
export FLEXNM_CACHE ?= $(CURDIR)/.cache
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.flexnm-ready
PARTIAL := $(VENV)/.flexnm-partial

# ---- Settings: NAME=value on the command line becomes an option of the flexnm command ----------------------------

settings_verilog := PRESET N M FLEXIBLE ROWS COLS LANES WIDTH WEIGHT_WIDTH K_MAX METADATA SELECTOR TOP OUT CONFIG T_MAX ACTS_PER_BEAT WEIGHTS_PER_BEAT RESULTS_PER_BEAT SCORE_FACTOR FACTOR_WIDTH STATIC_SHIFT TOKEN_SHIFT VARIANCE FRACTION_BITS BUS_WIDTH TILE_BEATS OUTSTANDING ADDRESS_WIDTH
settings_sim := PRESET N M ROWS COLS LANES WIDTH METADATA SELECTOR MODEL TEXT TOKENS LAYERS
settings_llm := PATTERN METHOD PARAMETERS MODEL TEXT TOKENS LAYERS PRESET ROWS COLS LANES K_MAX ENGINES OUT
settings_decode := PROMPT MODEL TOKENS PATTERN K_MAX BUS_WIDTH TILE_BEATS ENGINES OUT
settings_synth := TARGET TOP PRESET N M FLEXIBLE ROWS COLS LANES WIDTH WEIGHT_WIDTH K_MAX METADATA SELECTOR CONFIG T_MAX ACTS_PER_BEAT WEIGHTS_PER_BEAT RESULTS_PER_BEAT SCORE_FACTOR FACTOR_WIDTH STATIC_SHIFT TOKEN_SHIFT VARIANCE FRACTION_BITS BUS_WIDTH TILE_BEATS OUTSTANDING ADDRESS_WIDTH LIBERTY CLOCK EFFORT DEVICE SEED OUT
settings_sweep := PATTERNS TOPS SELECTORS LANES ARRAYS METADATA TARGETS LIBERTY CLOCK JOBS DASK PERPLEXITY OUT
settings_ppl := MODEL TEXT WINDOWS PATTERNS JSON
settings_accuracy := MODEL METHODS TASKS LIMIT WINDOWS TEXT PARAMETERS OUT
settings_calibrate := MODEL TEXT WINDOWS WINDOW SKIP TRAIN STEPS RATE SEED PARAMETERS OUT
settings_plan := MODEL TEXT WINDOWS WINDOW SKIP AVERAGE BUDGET TOKENS PRESET ROWS COLS LANES BUS_WIDTH OUT
settings_capture := MODEL TEXT TOKENS LAYERS
settings_formal := ONLY JOBS TIMEOUT OUT ARGS
settings_gates := ONLY TARGETS LIBERTY OUT ARGS
settings_mutate := ONLY COUNT SEED JOBS OUT ARGS
settings_mutate_model := ARGS
settings_coverage := ONLY OUT ARGS
settings_fuzz := JOBS SEED CONFIGS OUT ARGS
settings_soak := MINUTES SEED OUT ARGS
settings_test := ARGS
settings_bench := NAME ARGS
settings_docs := ARGS
settings_faults := ARGS
general := PYTHON FLEXNM_CACHE

option_PRESET := --preset
option_N := --n
option_M := --m
option_FLEXIBLE := --flexible
option_ROWS := --rows
option_COLS := --cols
option_LANES := --lanes
option_WIDTH := --width
option_WEIGHT_WIDTH := --weight-width
option_K_MAX := --k-max
option_METADATA := --metadata
option_SELECTOR := --selector
option_T_MAX := --t-max
option_ACTS_PER_BEAT := --acts-per-beat
option_WEIGHTS_PER_BEAT := --weights-per-beat
option_RESULTS_PER_BEAT := --results-per-beat
option_SCORE_FACTOR := --score-factor
option_FACTOR_WIDTH := --factor-width
option_STATIC_SHIFT := --static-shift
option_TOKEN_SHIFT := --token-shift
option_VARIANCE := --variance
option_FRACTION_BITS := --fraction-bits
option_TOP := --top
option_OUT := --out
option_CONFIG := --config
option_MODEL := --model
option_TEXT := --text
option_TOKENS := --tokens
option_LAYERS := --layers
option_WINDOWS := --windows
option_PATTERNS := --patterns
option_PATTERN := --pattern
option_PROMPT := --prompt
option_BUS_WIDTH := --bus-width
option_TILE_BEATS := --tile-beats
option_OUTSTANDING := --outstanding
option_ADDRESS_WIDTH := --address-width
option_ENGINES := --engines
option_JSON := --json
option_METHODS := --methods
option_METHOD := --method
option_TASKS := --tasks
option_LIMIT := --limit
option_PARAMETERS := --parameters
option_WINDOW := --window
option_SKIP := --skip
option_TRAIN := --train
option_STEPS := --steps
option_RATE := --rate
option_SEED := --seed
option_AVERAGE := --average
option_BUDGET := --budget
option_TARGET := --target
option_LIBERTY := --liberty
option_CLOCK := --clock
option_EFFORT := --effort
option_DEVICE := --device
option_TOPS := --tops
option_SELECTORS := --selectors
option_ARRAYS := --arrays
option_TARGETS := --targets
option_JOBS := --jobs
option_DASK := --dask
option_PERPLEXITY := --perplexity
option_ONLY := --only
option_TIMEOUT := --timeout
option_COUNT := --count
option_CONFIGS := --configs
option_MINUTES := --minutes

# Only what the command line says counts: a stray N in the environment changes nothing.
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
raw = $(if $(filter $(1),$(given)),$(value $(1)))
quoted = '$(subst ','\'',$(value $(1)))'
options = $(foreach name,$(filter $(settings_$(1)),$(given)),$(option_$(name)) $(call quoted,$(name)))
unknown = $(filter-out $(settings_$(1)) $(general),$(given))
refuse = $(error unknown setting $(strip $(2)): known settings of `make $(1)` are $(strip $(settings_$(1)) $(general)))
$(foreach goal,$(MAKECMDGOALS),$(if $(call unknown,$(goal)),$(call refuse,$(goal),$(call unknown,$(goal)))))

# The flexnm command may run make itself (Verilator's makefiles): it must not inherit our flags and settings.
unexport MAKEFLAGS MFLAGS $(sort $(foreach goal,verilog sim synth sweep llm decode ppl accuracy calibrate plan capture formal gates mutate coverage fuzz soak test,$(settings_$(goal))))
FLEXNM = $(BIN)/flexnm

# ---- Targets ------------------------------------------------------------------------------------------------------

.PHONY: help
help: ## This list
	@echo "Usage: make TARGET [NAME=value ...]"
	@echo
	@sed -n 's/^\([a-z_]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo
	@echo "Settings"
	@echo "  verilog    $(settings_verilog)"
	@echo "  sim        $(settings_sim)"
	@echo "  synth      $(settings_synth)"
	@echo "  sweep      $(settings_sweep)"
	@echo "  llm        $(settings_llm)"
	@echo "  decode     $(settings_decode)"
	@echo "  ppl        $(settings_ppl)"
	@echo "  accuracy   $(settings_accuracy)"
	@echo "  calibrate  $(settings_calibrate)"
	@echo "  plan       $(settings_plan)"
	@echo "  capture    $(settings_capture)"
	@echo "  formal     $(settings_formal)"
	@echo "  gates      $(settings_gates)"
	@echo "  mutate     $(settings_mutate)"
	@echo "  coverage   $(settings_coverage)"
	@echo "  fuzz       $(settings_fuzz)"
	@echo "  soak       $(settings_soak)"
	@echo "  test       ARGS: more arguments for pytest, as in ARGS='-k compressor -x'"
	@echo "  bench      NAME: which one; ARGS: its options"
	@echo "  any        PYTHON (now $(PYTHON)), FLEXNM_CACHE (now $(FLEXNM_CACHE))"
	@echo
	@echo "Example: make verilog N=8 M=16 ROWS=4 COLS=4 OUT=build/my_core"

.PHONY: verilog
verilog: $(READY) ## Generate Verilog from a preset or from settings
	@$(FLEXNM) verilog $(call options,verilog)

.PHONY: sim
sim: deps $(READY) ## Run layers of an LLM through the Verilog, against the bit-exact model
	@$(FLEXNM) sim $(call options,sim)

.PHONY: synth
synth: synth-deps $(READY) ## Map a unit to an FPGA or to standard cells: size, clock rate, power
	@$(FLEXNM) synth $(call options,synth)

.PHONY: sweep
sweep: sweep-deps $(READY) ## Measure a grid of designs: area, throughput and accuracy against each other
	@$(FLEXNM) sweep $(call options,sweep)

.PHONY: llm
llm: deps $(READY) ## Run a whole LLM on the simulated engine, every layer checked
	@$(FLEXNM) llm $(call options,llm)

.PHONY: decode
decode: deps $(READY) ## Let an LLM write on the simulated decode engine, every layer checked
	@$(FLEXNM) decode $(call options,decode)

.PHONY: test
test: test-deps $(READY) lint ## Lint, then every test
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(call raw,ARGS)

.PHONY: faults
faults: deps $(READY) ## Break the RTL on purpose and see the benches go red
	@$(BIN)/python verif/faults/run.py $(call raw,ARGS)

.PHONY: formal
formal: $(READY) ## Prove properties of the generated RTL
	@$(FLEXNM) formal $(call options,formal) $(call raw,ARGS)

.PHONY: gates
gates: gates-deps $(READY) ## Run the benches of the units on FPGA cells and on standard cells
	@$(FLEXNM) gates $(call options,gates) $(call raw,ARGS)

.PHONY: mutate
mutate: deps $(READY) ## Change one gate or wire of the RTL at a time and see the benches notice
	@$(FLEXNM) mutate $(call options,mutate) $(call raw,ARGS)

.PHONY: mutate_model
mutate_model: $(READY) ## Mutants of the software model, with mutmut
	@$(BIN)/python -m flexnm_tb.mutation.model $(call raw,ARGS)

.PHONY: coverage
coverage: test-deps $(READY) ## Coverage of the generated RTL by the benches, and of the Python sources by the tests
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal --cov --cov-report=json:build/coverage/python.json
	@$(FLEXNM) coverage --python build/coverage/python.json $(call options,coverage) $(call raw,ARGS)

.PHONY: fuzz
fuzz: deps $(READY) ## Bad traffic at random on the compiled engines; good jobs must stay exact
	@$(FLEXNM) fuzz $(call options,fuzz) $(call raw,ARGS)

.PHONY: soak
soak: deps $(READY) ## Random tiles of an LLM on the compiled engines, for an hour
	@$(FLEXNM) soak $(call options,soak) $(call raw,ARGS)

.PHONY: ppl
ppl: $(READY) ## Perplexity of an LLM under N:M activation sparsity
	@$(FLEXNM) ppl $(call options,ppl)

.PHONY: accuracy
accuracy: $(READY) ## Perplexity and zero-shot accuracy of an LLM under sparsity methods
	@$(FLEXNM) accuracy $(call options,accuracy)

.PHONY: calibrate
calibrate: $(READY) ## Calibrate an LLM for scores and mitigations, train what is learned
	@$(FLEXNM) calibrate $(call options,calibrate)

.PHONY: plan
plan: $(READY) ## Choose N for each layer of an LLM under a budget
	@$(FLEXNM) plan $(call options,plan)

.PHONY: capture
capture: $(READY) ## Capture activations and weights of an LLM for the tests
	@$(FLEXNM) capture $(call options,capture)

.PHONY: lint
lint: $(READY) ## ruff check, ruff format --check, mypy
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: format
format: $(READY) ## Format the sources and repair what ruff can repair
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: docs
docs: $(READY) ## Build the pictures and tables of docs/
	@$(BIN)/python docs/build.py $(call raw,ARGS)

.PHONY: bench
bench: $(READY) ## Run a measurement of bench/, or list them
	@$(BIN)/python bench $(call raw,NAME) $(call raw,ARGS)

.PHONY: wheel
wheel: $(READY) ## Build dist/*.whl
	@$(BIN)/python -m build --no-isolation --wheel

.PHONY: release
release: $(READY) ## Wheel and Verilog of all presets in dist/, built twice and equal to the byte
	@$(FLEXNM) release

.PHONY: lock
lock: $(READY) ## Write constraints.txt anew, with hashes, after a change of pyproject.toml
	@$(BIN)/python verif/lock.py

.PHONY: clean
clean: ## Remove what builds and tests leave behind
	@rm -rf build dist sim_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find $(wildcard rtl gen sw_model verif bench docs) -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## Remove .venv and .cache as well
	@rm -rf $(VENV) .cache

# ---- Environment --------------------------------------------------------------------------------------------------

# What Debian has to provide: a compiler and ccache for Verilator's output, Icarus, and the shared libpython that
# cocotb loads into the simulator. Python's venv module comes first, for .venv itself.
TOOLS := g++ ccache iverilog libpython
# Standard cells, where LIBERTY names none.
CELLS := $(if $(filter LIBERTY,$(given)),,osu018)
# For `make synth`: OpenSTA, and a library of standard cells where LIBERTY names none. Power needs a simulation.
SYNTH_TOOLS := $(if $(filter asic,$(call raw,TARGET)),$(TOOLS) sta $(CELLS))
# For `make sweep`: area and timing only.
SWEEP_TOOLS := $(if $(findstring asic,$(or $(call raw,TARGETS),asic)),sta $(CELLS))
# For `make gates`: a simulation, and a library.
GATES_TOOLS := $(TOOLS) $(if $(findstring asic,$(or $(call raw,TARGETS),asic)),$(CELLS))
# For `make test`: a browser opens the page of a sweep, and OpenSTA times small units.
TEST_TOOLS := $(TOOLS) chromium chromedriver sta osu018

.PHONY: deps
deps: ## Install the Debian packages that are missing, if any
	@sh -c "$$INSTALL_MISSING" deps $(TOOLS)

.PHONY: synth-deps
synth-deps:
	@sh -c "$$INSTALL_MISSING" deps $(SYNTH_TOOLS)

.PHONY: sweep-deps
sweep-deps:
	@sh -c "$$INSTALL_MISSING" deps $(SWEEP_TOOLS)

.PHONY: gates-deps
gates-deps:
	@sh -c "$$INSTALL_MISSING" deps $(GATES_TOOLS)

.PHONY: test-deps
test-deps:
	@sh -c "$$INSTALL_MISSING" deps $(TEST_TOOLS)

.PHONY: setup
setup: $(READY) ## Create .venv with the pinned packages (once)

$(READY): pyproject.toml constraints.txt
	@sh -c "$$INSTALL_MISSING" deps
	@sh -c "$$CREATE_VENV"

deps synth-deps sweep-deps gates-deps test-deps $(READY): export INSTALL_MISSING = $(install_missing)
$(READY): export CREATE_VENV = $(create_venv)

define install_missing
set -e
python=$(PYTHON)
missing=
if ! command -v "$$python" >/dev/null; then
    missing="python3 python3-venv"
    python=/usr/bin/python3
elif ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $$python is older than Python 3.11: name a newer one with PYTHON=..." >&2
    exit 2
elif ! "$$python" -c 'import ensurepip' 2>/dev/null; then
    missing=python3-venv
fi
for tool; do
    if [ "$$tool" = libpython ]; then
        # Only Debian's own Python comes without its shared library.
        missing="$$missing $$("$$python" -c '
import ctypes, sys, sysconfig
try:
    sys.base_prefix == "/usr" and ctypes.CDLL(sysconfig.get_config_var("INSTSONAME"))
except OSError:
    print("libpython%d.%d" % sys.version_info[:2])')"
    elif [ "$$tool" = osu018 ]; then
        found=
        for folder in $$(echo "$${XDG_DATA_DIRS:-/usr/local/share:/usr/share}" | tr : ' '); do
            [ ! -e "$$folder/qflow/tech/osu018/osu018_stdcells.lib" ] || found=yes
        done
        [ -n "$$found" ] || missing="$$missing qflow-tech-osu018"
    elif ! command -v "$$tool" >/dev/null; then
        [ "$$tool" = sta ] && tool=opensta
        [ "$$tool" = chromedriver ] && tool=chromium-driver
        missing="$$missing $$tool"
    fi
done
set -- $$missing
[ $$# -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "error: please install $$* (Debian package names; there is no apt-get here to do it)" >&2
    exit 2
fi
root=
if [ "$$(id -u)" -ne 0 ]; then
    root=sudo
    if ! command -v sudo >/dev/null; then
        echo "error: please run, as root: apt-get install $$*" >&2
        exit 2
    fi
fi
echo "Installing $$*"
$$root apt-get update -qq
$$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$$@" >/dev/null
endef

# A kill in the middle leaves the mark of a partial .venv behind, and the next run starts over. First come the files of
# constraints.txt, checked against their hashes. The second step adds flexnm itself, and what only a CUDA build of torch
# needs. The pins go through the environment, so that they also hold for the isolated builds of what comes as source.
define create_venv
set -e
trap 'exit 130' INT TERM
if [ -e $(PARTIAL) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then
    rm -rf $(VENV)
fi
mkdir -p $(VENV)
touch $(PARTIAL)
[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
echo "Installing the Python packages of constraints.txt into $(VENV)"
sed -n 's/^\([a-z0-9._-]*==[^ ]*\).*/\1/p' constraints.txt >$(VENV)/pins.txt
PIP_CONSTRAINT="file://$$(pwd | sed 's/ /%20/g')/$(VENV)/pins.txt"
export PIP_CONSTRAINT
install="$(BIN)/python -m pip install -q --disable-pip-version-check"
# A CPU build of torch in a folder that pip knows: pip itself would prefer what an index offers with a hash beside it.
sed -n '/^torch==/,/[^\\]$$/s/^\(torch==[^ ]*\)/\1+cpu/; /^torch==/,/[^\\]$$/p' constraints.txt >$(VENV)/torch.txt
$$install --no-deps --require-hashes -r $(VENV)/torch.txt >/dev/null 2>&1 || true
if ! $$install --no-deps --require-hashes -r constraints.txt || ! $$install --use-pep517 -e '.[dev]'; then
    rm $(PARTIAL)
    exit 2
fi
rm $(PARTIAL)
touch $(READY)
endef
