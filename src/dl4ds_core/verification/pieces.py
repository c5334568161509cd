"""Work on arrays in pieces that fit the processor's caches, by several threads.

What is made on the way from large arrays would else go through the memory again and again: most scores need little
arithmetic, and their time is that of the memory.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

__all__ = ["Crew", "crew"]

PIECE_BYTES = 2**21
"""Size of one array of a piece; some ten of them are in use at a time."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of these settings in glibc's malloc.h."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Crew:
    """Threads that work on pieces."""

    _map: Callable[..., Iterator[Any]]

    def work(self, function: Callable[[slice], Result], size: int, row_bytes: int) -> Iterator[tuple[slice, Result]]:
        """Call a function for all pieces of an axis, and return the results in their order.

        Pieces, and the order in which results are added up, don't depend on the number of threads: so neither does
        any score.

        Parameters
        ----------
        function : callable
            Takes the rows of a piece. It may be called by several threads at a time.
        size : int
            Number of rows.
        row_bytes : int
            Bytes of a row of an array.

        Yields
        ------
        tuple of slice and object
            Rows of each piece, and the result.
        """
        rows = max(1, PIECE_BYTES // row_bytes)
        parts = [slice(first, min(first + rows, size)) for first in range(0, size, rows)]
        yield from zip(parts, self._map(function, parts), strict=True)


@contextmanager
def crew(threads: int) -> Iterator[Crew]:
    """Start so many threads, each of which multiplies matrices by itself; end them when the block ends."""
    from threadpoolctl import threadpool_limits

    _keep_freed_memory()
    with threadpool_limits(limits=1, user_api="blas"):
        if threads == 1:
            yield Crew(map)
            return
        with ThreadPoolExecutor(threads) as executor:
            yield Crew(executor.map)


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to some hundred MB, for the next arrays.

    It would give arrays of this size back to the system, whose page faults then take as long as the arithmetic.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(_TRIM_THRESHOLD, 2**28)
        mallopt(_MMAP_THRESHOLD, 2**25)
