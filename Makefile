# `make demo` and `make test` need nothing but Python on a fresh machine.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
BUNDLE ?= build/demo/bundle

.PHONY: demo quick test test-all lint types bench bench-full check-full check-arm64 check-older gpu-check endurance fuzz nano heldout calibration clean

# torch comes first and pinned: a range would install the newest, with several GB of CUDA.
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python -m tools.demo

# Runs a test of every room, for each change: at most a minute and a half on two idle cores.
quick: $(STAMP)
	OMNIJET_QUICK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) @tests/quick.txt

# Runs the suite but for the tests of tests/long.txt: a quarter of an hour of two idle cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) tests @tests/long.txt

# Runs the whole suite, before a release: ten minutes more.
test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) tests

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

# Measures at a middle size, beside transformers and, if it is installed, llama.cpp: minutes. A second
# run measures what is missing; BENCH=--again measures all.
bench: $(STAMP)
	$(BIN)/python -m tools.bench middle $(BENCH)

# Measures at the 3B's dimensions, outside CI: half an hour, and as long again where peers and bundles must
# be made first (about 40 GB of disk).
bench-full: $(STAMP)
	$(BIN)/python -m tools.bench.peers install
	$(BIN)/python -m tools.bench full $(BENCH)

# Checks the real sizes, outside CI: needs about 60 GB of free disk and 20 minutes.
check-full: $(STAMP)
	$(BIN)/python -m tools.full_size.check

# Runs the base package on an emulated arm64 Debian, its answers beside this machine's, outside CI: needs root, 2 GB
# of disk, and the first time a quarter of an hour. ARM64=--remove removes what it made.
check-arm64: $(STAMP)
	$(BIN)/python -m tools.check_arm64 $(ARM64)

# Builds and asks with Python 3.10 and its newest ONNX Runtime, those of JetPack 6, outside CI: minutes.
check-older: $(STAMP)
	OMNIJET_OLDER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_older_onnxruntime.py

# Runs parity, demo, profiler and bench on a GPU, or prints why it cannot. On a Jetson, choose an
# environment that sees the system's TensorRT; it needs no torch:
# make gpu-check GPU_PYTHON=path/to/python
GPU_PYTHON ?= $(BIN)/python
gpu-check: $(if $(filter $(BIN)/python,$(GPU_PYTHON)),$(STAMP))
	$(GPU_PYTHON) -m tools.gpu_check

# Runs a thousand turns and two hundred cancels in one process, on the bundle of `make demo`. It
# takes a quarter of an hour; its latencies need an idle machine.
endurance: $(STAMP)
	$(BIN)/python -m tools.endurance $(BUNDLE)

# Tries ten thousand damaged inputs on the bundle of `make demo`: a few minutes.
fuzz: $(STAMP)
	$(BIN)/python -m tools.fuzz $(BUNDLE)

# Trains Omnijet-nano, stage by stage, into build/nano and nano/checkpoint: hours on two cores. A
# second run continues an interrupted one. Needs flite and espeak-ng.
STAGES := vocoder codec hearing sight dit thinker talker
nano: $(STAMP)
	for stage in $(STAGES); do $(BIN)/python -m omnijet.nano.training.$$stage || exit 1; done
	$(BIN)/python -m omnijet.nano.training.talker --tuned
	$(BIN)/python -m omnijet.nano.training.assemble

# Makes the held-out set for a new codec or world; new scores do not compare with old ones.
heldout: $(STAMP)
	$(BIN)/python -m omnijet.nano.training.heldout

# Makes the calibration set for a new world or other voices.
calibration: $(STAMP)
	$(BIN)/python -m omnijet.nano.training.calibration

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
