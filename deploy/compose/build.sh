#!/usr/bin/env bash
# The image's build. The Dockerfile runs it, and so do the tests, where there is no container engine: `packages` first, then
# `assay`, each a layer. Run it in the project's folder; TARGET gets the environments `build` (tools) and `assay` (the image's).
set -euo pipefail
if [[ $# != 2 ]]; then
  echo "usage: build.sh packages|assay TARGET" >&2
  exit 2
fi
step=$1 tools=$2/build image=$2/assay
case $step in
  packages)
    python -m venv "$tools"
    "$tools/bin/pip" install --quiet --no-deps --require-hashes -r requirements-build.lock
    python -m venv --without-pip "$image"
    "$tools/bin/uv" pip install --quiet --python "$image/bin/python" --no-deps --require-hashes -r deploy/compose/requirements.lock
    ;;
  assay)
    "$tools/bin/python" -m hatchling build -t wheel -d "$2/dist"
    "$tools/bin/uv" pip install --quiet --python "$image/bin/python" --no-deps --no-index "$2"/dist/assay-*.whl
    "$tools/bin/uv" pip check --python "$image/bin/python"
    ;;
  *)
    echo "build.sh: there is no step '$step'" >&2
    exit 2
    ;;
esac
