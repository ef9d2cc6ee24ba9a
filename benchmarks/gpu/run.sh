#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: sets up an environment of its own, builds the extensions and a TensorRT plan, runs the
# tests that need a GPU, then the throughput table. What follows on the command line goes to `python -m benchmarks.gpu`.
#
#   benchmarks/gpu/run.sh                      everything; the table is in benchmarks/gpu/results
#   benchmarks/gpu/run.sh --profile quick      fewer rounds
#   VENV=/somewhere benchmarks/gpu/run.sh      the environment goes there   [.venv-gpu]
#   GPU_PYTHON=python3 benchmarks/gpu/run.sh   with this Python as it is: nothing is installed, only the extensions built
#
# Exit status: 0 all is right, 1 a test or an answer is wrong, 2 there is no GPU, or it can't be set up.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! cards=$(nvidia-smi -L 2>/dev/null) || [[ "$cards" != GPU* ]]; then
    echo "benchmarks/gpu/run.sh needs an NVIDIA GPU and its driver; nvidia-smi finds none here." >&2
    exit 2
fi
echo "$cards"
said=$(nvidia-smi)
cuda=13
[[ "$said" =~ CUDA[^0-9]*Version:\ *([0-9]+) ]] && cuda=${BASH_REMATCH[1]}
echo "The driver supports CUDA $cuda."

fail() {
    echo "$1" >&2
    exit 2
}

# 1. An environment.
if [[ -n "${GPU_PYTHON:-}" ]]; then
    python=$(command -v "$GPU_PYTHON") || fail "GPU_PYTHON names no program: $GPU_PYTHON"
else
    venv=${VENV:-.venv-gpu}
    python=$venv/bin/python
    if [[ ! -e "$venv/.installed" ]]; then
        [[ -x "$python" ]] || "${PYTHON:-python3}" -m venv "$venv" || fail "python3-venv is needed."
        "$python" -m pip install -q --upgrade pip
        "$python" -m pip install -q 'setuptools>=77' 'Cython>=3.1' 'numpy>=2.0'
        YOLO_ENGINE_ORT=gpu "$python" -m pip install -q --no-build-isolation -e '.[dev,demo,bench,gpu]' ||
            fail "The engine could not be installed."
        if ((cuda >= 13)); then
            optional=('nvidia-cuda-nvrtc' 'tensorrt')
        else
            optional=('nvidia-cuda-nvrtc-cu12' 'tensorrt_cu12')
        fi
        # PyCUDA is built here, with the headers of a CUDA toolkit. Without it, TensorRT or ONNX Runtime's CUDA libraries
        # the rest is measured, and what is left out is told.
        for package in "${optional[@]}" pycuda 'onnxruntime-gpu[cuda,cudnn]'; do
            "$python" -m pip install -q "$package" || echo "Left out: $package can't be installed." >&2
        done
        touch "$venv/.installed"
    fi
fi
"$python" setup.py -q build_ext --inplace || fail "The extensions can't be built."

# 2. CUDA libraries that came as wheels are where no loader looks.
libraries=$("$python" -c '
import importlib.util, pathlib
spec = importlib.util.find_spec("nvidia")
places = list(spec.submodule_search_locations) if spec else []
print(":".join(str(path) for place in places for path in sorted(pathlib.Path(place).glob("*/lib"))))')
if [[ -n "$libraries" ]]; then
    export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$python" -m engine.cli.main doctor

# 3. The tests that need a GPU.
wrong=0
"$python" -m pytest -q -m gpu tests || wrong=1

# 4. A plan of the model that is measured, in the user's cache. A plan that is there already is kept.
model=$("$python" -c 'from benchmarks.gpu.__main__ import default_model; print(default_model())')
"$python" -m engine.cli.main build-trt "$model" --max-batch 64 --opt-batch 16 ||
    echo "There is no TensorRT plan: the rest is measured without." >&2

# 5. The table.
"$python" -m benchmarks.gpu "$@" || wrong=1
exit $wrong
