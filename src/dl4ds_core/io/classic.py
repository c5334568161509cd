"""Length that a classic netCDF file must have by its header.

The netCDF library gives zeros for what is missing at the end of such a file. The format is described in appendix B of
the NetCDF User's Guide (Rew et al. 2006, https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html).
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO

#: Bytes of one value by the number of its type.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_STREAMING = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def required_length(path: Path) -> int:
    """Return how many bytes a file in one of the classic formats (CDF-1, 2 or 5) must have at least.

    Raises
    ------
    struct.error, LookupError, ValueError
        If the header itself is cut off or damaged.
    """
    with path.open("rb") as stream:
        return _Header(stream).length


class _Header:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        version = stream.read(4)[3]
        self._count = ">Q" if version == 5 else ">I"
        self._offset = ">I" if version == 1 else ">Q"
        records = self._number(self._count)
        dims = [self._dimension() for _ in range(self._list())]
        self._attributes()
        variables = [self._variable(dims) for _ in range(self._list())]
        self.length = _length(variables, 0 if records in _STREAMING else records)

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._stream.read(struct.calcsize(form)))[0])

    def _skip(self, size: int) -> None:
        """Skip bytes, which are filled up to a multiple of four."""
        self._stream.seek(size + -size % 4, 1)

    def _list(self) -> int:
        self._number(">I")  # kind of list
        return self._number(self._count)

    def _dimension(self) -> int:
        self._skip(self._number(self._count))
        return self._number(self._count)

    def _attributes(self) -> None:
        for _ in range(self._list()):
            self._skip(self._number(self._count))
            size = _SIZES[self._number(">I")]
            self._skip(size * self._number(self._count))

    def _variable(self, dims: list[int]) -> tuple[int, int, bool]:
        """Return where a variable begins, its bytes (of one record), and whether it has records."""
        self._skip(self._number(self._count))
        shape = [dims[self._number(self._count)] for _ in range(self._number(self._count))]
        self._attributes()
        size = _SIZES[self._number(">I")]
        self._number(self._count)  # its own size, which large variables can't state
        begin = self._number(self._offset)
        has_records = bool(shape) and shape[0] == 0
        return begin, size * math.prod(shape[1:] if has_records else shape), has_records


def _length(variables: list[tuple[int, int, bool]], records: int) -> int:
    in_records = [size for _, size, has_records in variables if has_records]
    # A single variable in records isn't filled up.
    step = in_records[0] if len(in_records) == 1 else sum(size + -size % 4 for size in in_records)
    ends = [begin + size for begin, size, has_records in variables if not has_records]
    if records:
        ends += [begin + (records - 1) * step + size for begin, size, has_records in variables if has_records]
    return max(ends, default=0)
