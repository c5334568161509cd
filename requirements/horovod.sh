#!/usr/bin/env bash
# Builds Horovod from its source package against the TensorFlow of an environment, and installs it there.
#
#   requirements/horovod.sh PYTHON      PYTHON: the environment's interpreter, e.g. .venv/bin/python
#
# The environment must hold the other packages of lock.txt and build.txt already. Gloo is always built in; MPI too where
# `mpicxx` is found, unless HOROVOD_WITHOUT_MPI is set. Variables of its own build, as HOROVOD_GPU_OPERATIONS, are passed on.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$1
environment=$(cd "$(dirname "$python")/.." && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [[ $environment == *[[:space:]]* ]]; then # TensorFlow hands its paths to the compiler without quotes
    ln -s "$environment" "$work/environment"
    environment=$work/environment
fi
PATH=$environment/bin:$PATH # for cmake

export HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1
if [[ -z ${HOROVOD_WITHOUT_MPI:-} ]] && command -v mpicxx >/dev/null; then
    export HOROVOD_WITH_MPI=1
else
    export HOROVOD_WITHOUT_MPI=1
fi

# Its CMake files ask for a policy version that CMake 3.31 and later only grant on request.
# Its setup.py passes VERBOSE=1 to the build tool, so that has to be make, not Ninja.
export CMAKE_POLICY_VERSION_MINIMUM=3.5 CMAKE_GENERATOR="Unix Makefiles"

# Left alone, Horovod starts eight compilers on any machine (a gigabyte each), or one inside `make`.
jobs=$(nproc 2>/dev/null || echo 2)
jobs=$((jobs < 8 ? jobs : 8))
unset MFLAGS MAKELEVEL
export MAKEFLAGS="-j$jobs" CMAKE_BUILD_PARALLEL_LEVEL=$jobs

# No cache: a wheel built against another TensorFlow has the same name and breaks at import.
"$environment/bin/${python##*/}" -m pip wheel --no-cache-dir --no-build-isolation --no-deps --no-input --progress-bar off \
    --require-hashes --wheel-dir "$work" --requirement "$here/horovod.txt"
"$python" -m pip install --force-reinstall --no-deps --no-input "$work"/horovod-*.whl

"$python" - <<'CHECK'
import os

import horovod.tensorflow as hvd

built = {"gloo": bool(hvd.gloo_built()), "mpi": bool(hvd.mpi_built())}
wanted = {"gloo": True, "mpi": "HOROVOD_WITH_MPI" in os.environ}
if built != wanted:
    raise SystemExit(f"Horovod was built with {built}, but should have been built with {wanted}")
print("Horovod works:", built)
CHECK
