"""Reading fields from files as users have them, and writing CF netCDF that is whole or not there."""

from dl4ds_core.files import atomic
from dl4ds_core.io.opening import open_dataset
from dl4ds_core.io.reading import CHUNK_VALUES, open_variable
from dl4ds_core.io.times import require_time
from dl4ds_core.io.units import convert_units, difference_units, unit_conversion
from dl4ds_core.io.writing import STORED_VALUES, write

__all__ = [
    "CHUNK_VALUES",
    "STORED_VALUES",
    "atomic",
    "convert_units",
    "difference_units",
    "open_dataset",
    "open_variable",
    "require_time",
    "unit_conversion",
    "write",
]
