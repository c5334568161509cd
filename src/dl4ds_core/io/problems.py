"""What libraries raise on damaged files, and how that is told in one line."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dl4ds_core.errors import DataError

#: Whatever reading a damaged file may raise: the libraries below xarray have no common base class.
READ_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    LookupError,
    RuntimeError,
    ImportError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zlib.error,
)
_LONGEST = 240


def one_line(error: object) -> str:
    """Return the text of an error on one line, shortened; its type where it has no text."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


@contextmanager
def told(start: str) -> Iterator[None]:
    """Turn what a library raises into a ``DataError`` of one line that begins with ``start``."""
    try:
        yield
    except DataError:
        raise
    except READ_ERRORS as error:
        raise DataError(f"{start}: {one_line(error)}") from error


def check_path(path: Path) -> None:
    """Refuse what is neither a file nor a folder that may be read; opening a pipe would wait for ever.

    Raises
    ------
    DataError
        Saying what it is.
    """
    if not path.exists():
        link = f": it is a link to {os.readlink(path)}, which is missing" if path.is_symlink() else ""
        raise DataError(f"{path}: no such file{link}")
    if not (path.is_file() or path.is_dir()):
        raise DataError(f"{path}: expected a file or a Zarr store, found a pipe, socket or device")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: may not be read; ask its owner for permission")
