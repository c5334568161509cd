"""Signals that ask a training to stop, kept as flags that the ranks exchange; light, so that it can be imported first.

SLURM sends SIGUSR1 ahead of the wall time (``--signal``), SIGTERM to a job that is cancelled or preempted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Any

#: Exit status of a training that stopped at a checkpoint and is to be started again.
EXIT_STATUS = os.EX_TEMPFAIL

#: The signals, in the order of their flags; where several came, the last one of them is the reason.
SIGNALS = (signal.SIGUSR1, signal.SIGTERM)

_flags = [0.0] * len(SIGNALS)


class Stopped(Exception):  # noqa: N818 - no error: the training goes on in the next job
    """The training was asked to stop and did so; its checkpoint is written.

    Attributes
    ----------
    signal : str
        Name of the signal, such as SIGUSR1.
    """

    def __init__(self, position: str, signal_name: str) -> None:
        super().__init__(
            f"stopped after {position} because of {signal_name}; the checkpoint is written and the next job goes on "
            "from there"
        )
        self.signal = signal_name


def listen() -> None:
    """Note signals from now on instead of dying of them.

    Ctrl-C counts as SIGTERM; a second one ends the process at once, as usual.
    """
    for number in SIGNALS:
        signal.signal(number, _note)
    signal.signal(signal.SIGINT, _note_interrupt)


def ignore() -> None:
    """Ignore signals from now on, in a process that is about to end.

    Launchers end all ranks as soon as one has ended; each is to end with its own status instead.
    """
    for number in (*SIGNALS, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def flags() -> tuple[float, ...]:
    """Return one number per signal: whether this process got it."""
    return tuple(_flags)


def flag_tensor() -> Any:
    """Return the flags as what ranks exchange."""
    import tensorflow as tf  # here, since it is slow

    return tf.constant(flags(), tf.float32)


def reason(sums: Sequence[float]) -> str | None:
    """Return the name of the signal to stop for, or None.

    Parameters
    ----------
    sums : sequence of float
        Sums of all ranks' `flags`.
    """
    names = [number.name for number, value in zip(SIGNALS, sums, strict=True) if value > 0]
    return names[-1] if names else None


def _note(number: int, frame: FrameType | None = None) -> None:  # noqa: ARG001 - Python calls it with both
    _flags[SIGNALS.index(signal.Signals(number))] = 1.0


def _note_interrupt(number: int, frame: FrameType | None = None) -> None:  # noqa: ARG001
    _note(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
