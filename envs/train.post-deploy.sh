# Run in the activated environment, from the root of the repository: by Snakemake, or by hand after `conda env create`.
set -e
bash requirements/horovod.sh "$CONDA_PREFIX/bin/python"
python -m pip install --no-deps --no-build-isolation --editable .
