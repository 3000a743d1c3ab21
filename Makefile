# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
BUNDLE ?= build/demo/bundle

.PHONY: demo quick test lint types bench check-full gpu-check endurance nano heldout calibration clean

# torch first and pinned: a range would pull whatever is newest, with several GB of CUDA.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m tools.demo

# A test of every room, for each change: a minute and a half on two cores.
quick: $(STAMP)
	OMNIJET_QUICK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) @tests/quick.txt

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Beside transformers: stages and a short reply, then one of 6 s on a checkpoint of middle size.
bench: $(STAMP)
	$(BIN)/python -m tools.bench.stages
	$(BIN)/python -m tools.bench.reply

# Full size, outside CI: about 60 GB of free disk and 20 minutes.
check-full: $(STAMP)
	$(BIN)/python -m tools.full_size.check

# Parity, demo, profiler and bench on a GPU, where there is one; says why not elsewhere. On a Jetson
# take an environment that sees its TensorRT, which torch need not be in:
# make gpu-check GPU_PYTHON=path/to/python
GPU_PYTHON ?= $(BIN)/python
gpu-check: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(STAMP))
	$(GPU_PYTHON) -m tools.gpu_check

# A thousand turns and two hundred cancels in one process, on the bundle that `make demo` leaves:
# a quarter of an hour on an idle machine, which its latencies need.
endurance: $(STAMP)
	$(BIN)/python -m tools.endurance $(BUNDLE)

# Trains Omnijet-nano anew, stage by stage, into build/nano and nano/checkpoint: hours on two
# cores; run again, it goes on where it was cut off. Needs flite and espeak-ng.
STAGES := vocoder codec hearing sight dit thinker talker
nano: $(STAMP)
	for stage in $(STAGES); do $(BIN)/python -m omnijet.nano.training.$$stage || exit 1; done
	$(BIN)/python -m omnijet.nano.training.talker --tuned
	$(BIN)/python -m omnijet.nano.training.assemble

# The held-out set anew, for a new codec or a new world: scores before and after do not compare.
heldout: $(STAMP)
	$(BIN)/python -m omnijet.nano.training.heldout

# The calibration set anew, for a new world or other voices.
calibration: $(STAMP)
	$(BIN)/python -m omnijet.nano.training.calibration

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
