"""The signals that a running gateway takes: SIGHUP has the files of settings read again."""

import asyncio
import signal
import sys
from collections.abc import Callable
from functools import partial

import structlog

from gateway.configuration import Configuration


def remembered_signals() -> set[int]:
    """Which signals came before the event loop can take them; they would kill otherwise."""
    came: set[int] = set()
    if sys.platform != "win32":
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda number, _: came.add(number))
    return came


def ignore_signals() -> None:
    """Let no signal make a failure of what is left of the stop: the event loop would have it kill again."""
    if sys.platform != "win32":
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)


def take_signals(came: set[int], log: structlog.typing.FilteringBoundLogger, configuration: Configuration) -> None:
    """Read the files again at SIGHUP, and say that signals came that mean nothing here."""
    if sys.platform == "win32":
        return
    action = "SIGHUP reads keys, documents and profiles again; SIGTERM stops"
    handlers: dict[signal.Signals, Callable[[], object]] = {signal.SIGHUP: configuration.begin_reload}
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        handlers[number] = partial(log.warning, "gateway.signal_ignored", signal=number.name, action=action)
    for number, handle in handlers.items():
        asyncio.get_running_loop().add_signal_handler(number, handle)
        if number in came:
            handle()
