#!/bin/sh
# Resolve the lock files anew (make lock). Hashes pin every wheel; no index address is written, so that a mirror serves as
# well as the public index.
set -eu
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_35 \
    --generate-hashes --no-emit-index-url --no-annotate --override requirements/overrides.txt \
    --custom-compile-command 'make lock' "$@"
}
compile pyproject.toml --extra operator --output-file requirements/operator.txt
compile pyproject.toml --extra serve-cpu --constraint requirements/operator.txt --output-file requirements/serve-cpu.txt
compile pyproject.toml --extra serve-cuda --output-file requirements/serve-cuda.txt
# The training image is the serving image and these on top, at the same versions of what both hold.
compile pyproject.toml --extra serve-cpu --extra train --constraint requirements/serve-cpu.txt \
  --output-file requirements/train-cpu.txt
compile pyproject.toml --extra serve-cuda --extra train --constraint requirements/serve-cuda.txt \
  --output-file requirements/train-cuda.txt
# What compiles DeepSpeed's operations for GPUs: of the CUDA that torch was built with.
sed -n 's/^cuda-toolkit==\([^ ]*\).*/cuda-toolkit[cccl,nvcc]==\1/p' requirements/train-cuda.txt \
  | compile - --output-file requirements/cuda-compiler.txt
# What developers and tests use is what the images hold, plus the tools.
compile pyproject.toml --extra operator --extra serve-cpu --extra train --extra dev --constraint requirements/operator.txt \
  --constraint requirements/train-cpu.txt --output-file requirements/dev.txt
# What installs the wheels and builds the project's own in a build step of the images.
printf 'hatchling\nuv\n' | compile - --constraint requirements/dev.txt --output-file requirements/build.txt
