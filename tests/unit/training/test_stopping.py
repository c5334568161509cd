"""Signals become flags; their sums over ranks name the reason to stop."""

from __future__ import annotations

import os
import signal

import pytest

from dl4ds_core.training import stopping
from dl4ds_core.training.stopping import Stopped, reason


@pytest.fixture
def listening(monkeypatch):
    """Signals are noted; afterwards everything is as before."""
    monkeypatch.setattr(stopping, "_flags", [0.0, 0.0])
    before = {number: signal.getsignal(number) for number in (*stopping.SIGNALS, signal.SIGINT)}
    stopping.listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "flags"), [(signal.SIGUSR1, (1, 0)), (signal.SIGTERM, (0, 1)), (signal.SIGINT, (0, 1))]
)
def test_a_signal_is_noted(listening, number, flags):
    assert stopping.flags() == (0, 0)
    os.kill(os.getpid(), number)
    assert stopping.flags() == flags
    if number != signal.SIGINT:
        os.kill(os.getpid(), number)
        assert stopping.flags() == flags


def test_a_second_interrupt_ends_at_once(listening):
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_process_that_ends_keeps_its_status(listening):
    stopping.ignore()
    for number in (*stopping.SIGNALS, signal.SIGINT):
        os.kill(os.getpid(), number)
    assert stopping.flags() == (0, 0)


@pytest.mark.parametrize(
    ("sums", "name"),
    [((0, 0), None), ((1, 0), "SIGUSR1"), ((0, 1), "SIGTERM"), ((3, 1), "SIGTERM"), ((128, 0), "SIGUSR1")],
)
def test_the_reason(sums, name):
    assert reason(sums) == name


def test_what_is_said():
    stopped = Stopped("step 12 of 40 of epoch 3", "SIGUSR1")
    assert str(stopped) == (
        "stopped after step 12 of 40 of epoch 3 because of SIGUSR1; the checkpoint is written and the next job goes on "
        "from there"
    )
    assert stopped.signal == "SIGUSR1"
    assert stopping.EXIT_STATUS == 75
