#!/bin/sh
# Everything there is to measure on an accelerator, in under ten minutes, without a network.
#
#     tests/accelerator/run.sh [--small] [--output FOLDER]
#
# PYTHON is the interpreter (python3); it needs JAX 0.11 or newer for the accelerator, jaxtyping,
# NumPyro, Optax, pandas and Matplotlib; pytest with hypothesis, chex, beartype and SciPy for the
# tests, and Flax for the network: what lacks its packages is left out and said to be. Writes
# accelerator.json into the folder (build/accelerator), after every part, so that a run that is
# stopped leaves what it has. --small tries all of it at small sizes, on any device.
set -eu
cd "$(dirname "$0")/../.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export XLA_PYTHON_CLIENT_PREALLOCATE=false # tests and trainings run in processes of their own
exec "${PYTHON:-python3}" -m tests.accelerator.measure "$@"
