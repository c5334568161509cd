# Run in the activated environment, from the root of the repository: by Snakemake, or by hand after `conda env create`.
python -m pip install --no-deps --no-build-isolation --editable .
