"""Work on arrays in pieces that fit the processor's caches, by several threads.

What is made on the way from large arrays would else go through the memory again and again: most scores need little
arithmetic, and their time is that of the memory.
"""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TypeVar

__all__ = ["Crew", "crew"]

PIECE_BYTES = 2**21
"""Size of one array of a piece; some ten of them are in use at a time."""

_TURN = 5e-5
"""Seconds after which a thread that waits for the interpreter gets it."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of these settings in glibc's malloc.h."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Crew:
    """Threads that work on pieces."""

    _threads: int
    _executor: ThreadPoolExecutor | None
    """None where there is but one thread, that of the caller."""

    def work(
        self, function: Callable[[slice], Result], size: int, row_bytes: int, fewest: int = 1
    ) -> Iterator[tuple[slice, Result]]:
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
        fewest : int
            So many rows a piece has at least, however large they are.

        Yields
        ------
        tuple of slice and object
            Rows of each piece, and the result.
        """
        rows = max(fewest, PIECE_BYTES // row_bytes)
        parts = [slice(first, min(first + rows, size)) for first in range(0, size, rows)]
        if self._executor is None:
            yield from ((part, function(part)) for part in parts)
            return
        # A few at a time: results may be larger than pieces, and wait in memory until they are taken.
        waiting: deque[tuple[slice, Future[Result]]] = deque()
        for part in parts:
            waiting.append((part, self._executor.submit(function, part)))
            if len(waiting) > 2 * self._threads:
                done, result = waiting.popleft()
                yield done, result.result()
        yield from ((part, result.result()) for part, result in waiting)


@contextmanager
def crew(threads: int) -> Iterator[Crew]:
    """Start so many threads, each of which multiplies matrices by itself; end them when the block ends."""
    _keep_freed_memory()
    with _settings:
        if threads == 1:
            yield Crew(1, None)
            return
        with ThreadPoolExecutor(threads) as executor:
            yield Crew(threads, executor)


class _Settings:
    """What holds for the process as long as any crew is at work; several of them may begin and end in any order."""

    def __init__(self) -> None:
        self._lock, self._crews, self._undo = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        from threadpoolctl import threadpool_limits

        with self._lock:
            if not self._crews:
                self._undo.enter_context(threadpool_limits(limits=1, user_api="blas"))
                self._undo.enter_context(_quick_turns())
            self._crews += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._crews -= 1
            if not self._crews:
                self._undo.close()


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Let a thread that has multiplied its arrays go on soon, while another one is between its own.

    By default that one may keep the interpreter for five milliseconds, in which a piece would be done.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


_settings = _Settings()


@cache
def _keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to some hundred MB, for the next arrays.

    It would give arrays of this size back to the system, whose page faults then take as long as the arithmetic.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(_TRIM_THRESHOLD, 2**28)
        mallopt(_MMAP_THRESHOLD, 2**25)
