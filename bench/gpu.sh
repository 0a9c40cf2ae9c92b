#!/usr/bin/env bash
# What needs a GPU, on one H100 or H200 in about ten minutes: the tests marked gpu, then bench/gpu.py (its --help says
# what that shows). Needs an environment with vLLM for CUDA, which `make init` doesn't make:
#
#   python3 -m venv .venv-gpu && .venv-gpu/bin/pip install uv
#   .venv-gpu/bin/uv pip install --python .venv-gpu/bin/python --require-hashes -r requirements/serve-cuda.txt
#   .venv-gpu/bin/uv pip install --python .venv-gpu/bin/python -e . hypothesis pytest pytest-asyncio pytest-timeout
#   PYTHON=.venv-gpu/bin/python bench/gpu.sh
#
# Options go to bench/gpu.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}

"$python" bench/gpu.py --check
failed=0
"$python" -m pytest -m gpu tests/engine/test_{gpu,quantize}.py tests/network/test_all_reduce.py || failed=1
"$python" bench/gpu.py "$@" || failed=1
exit "$failed"
