# Run in the activated environment, from the root of the repository: by Snakemake, or by hand after `conda env create`.
set -e
export HOROVOD_GPU=CUDA HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_CUDA_HOME="$CONDA_PREFIX" HOROVOD_NCCL_HOME="$CONDA_PREFIX"
bash requirements/horovod.sh "$CONDA_PREFIX/bin/python"
python -m pip install --no-deps --no-build-isolation --editable .
