"""The log: one JSON object a line, with a fixed event name and fields; and what keeps all else from being printed."""

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

_MOST_PLACES = 8
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
# What libraries say without anything of a request or an error in it. Some build their text before they log it, asyncio
# with the error's own in it, so whatever is not known here is left out.
_KNOWN_MESSAGES = frozenset(
    {
        "ASGI callable returned without completing response.",
        "ASGI callable returned without starting response.",
        "Application shutdown failed. Exiting.",
        "Application startup failed. Exiting.",
        "Cancel %s running task(s), timeout graceful shutdown exceeded",
        "Exceeded concurrency limit.",
        "Exception in 'lifespan' protocol\n",
        "Exception in ASGI application\n",
        "Future exception was never retrieved",
        "Invalid HTTP request received.",
        "Queue full, dropping %s.",
        "Task exception was never retrieved",
        "Task was destroyed but it is pending!",
        "Unsupported upgrade request.",
        "socket.accept() out of system resource",
    }
)
_LEVELS = (logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO)


def build_log(
    level: str, to: TextIO, *, console: bool | None = None, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> FilteringBoundLogger:
    """A log of its own, so that nothing global is configured.

    Fields follow time, level and event in the order in which they are given; of an error only its kind and places
    are told. `console` is the form for people, which a terminal gets unless told otherwise. What the stream does not
    take is lost: no call raises.
    """
    processors: list[structlog.typing.Processor] = [_JsonLines(now)]
    if to.isatty() if console is None else console:
        processors.append(_ConsoleLines(colors=to.isatty()))
    log = structlog.wrap_logger(
        _Stream(to),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    # Bound once: the lazy logger would look for its class at every line.
    return cast("FilteringBoundLogger", log.bind())


def places(error: BaseException) -> list[str]:
    """Where in the code an error arose, as `module:function:line`, outermost first and the last eight."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "?")
        found.append(f"{module}:{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    return found[-_MOST_PLACES:]


def silence_others(log: FilteringBoundLogger) -> None:
    """Have this process's libraries, warnings and uncaught errors told in `log` without their texts, for good.

    Their texts may hold what clients or EHRs sent. uvicorn has to run with `log_config=None`, else it undoes this.
    """
    root = logging.getLogger()
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    root.handlers[:] = [_LibraryMessages(log)]
    root.setLevel(log.get_effective_level())

    def uncaught(where: str, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
            log.critical("process.fault", where=where, kind=kind.__name__, places=places(error) if error else [])

    def warned(*told: Any, **_: Any) -> None:
        _text, category, filename, line = told[:4]
        place = f"{PurePath(filename).stem}:{line}"
        log.warning("library.message", logger="warnings", kind=category.__name__, places=[place])

    sys.excepthook = lambda kind, error, _: uncaught("main", kind, error)
    sys.unraisablehook = lambda told: uncaught("cleanup", told.exc_type, told.exc_value)
    threading.excepthook = lambda told: uncaught("thread", told.exc_type, told.exc_value)
    warnings.showwarning = warned


def asyncio_handler(log: FilteringBoundLogger) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """An exception handler for an event loop, which tells what nobody waited for without its text."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.error("process.fault", where="loop", **_safely(context.get("message"), context.get("exception")))

    return handle


class _JsonLines:
    """Renders an event as a line of JSON: one processor that does all, since every answer waits for its line."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now

    def __call__(self, _: object, level: str, fields: EventDict) -> str:
        event = fields.pop("event")
        line: dict[str, Any] = {"timestamp": self._now(), "level": level, "event": event}
        if "exc_info" in fields:
            line |= _safely(None, _error_of(fields.pop("exc_info")))
        line.update(fields)
        try:
            return orjson.dumps(line, _named, _OPTIONS).decode()
        except TypeError:
            # An integer of more than 64 bits, or half a surrogate pair.
            head = {"timestamp": line["timestamp"], "level": level, "event": event}
            return orjson.dumps({**head, "unwritable": sorted(map(str, fields))}, option=_OPTIONS).decode()


class _ConsoleLines:
    """The form for people, made from the JSON, so that it can show nothing else."""

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)

    def __call__(self, log: object, level: str, line: Any) -> str:
        return f"{self._render(log, level, orjson.loads(line))}\n"


class _Stream:
    """Writes lines, each in one piece so that several processes can share a pipe."""

    def __init__(self, to: TextIO) -> None:
        self._to = to
        self._flushes_itself = bool(getattr(to, "line_buffering", False))

    def info(self, line: str) -> None:
        try:
            self._to.write(line)
            if not self._flushes_itself:
                self._to.flush()
        except (OSError, ValueError):
            # A broken pipe, a full disk or a closed stream; there is nowhere to tell it, and answers go on.
            return

    debug = warning = error = critical = info


class _LibraryMessages(logging.Handler):
    """Tells who logged and how grave it is; the message only where it is known to be constant."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if _is_told_otherwise(record):
            return
        level = next((level for level in _LEVELS if record.levelno >= level), logging.DEBUG)
        told = _safely(record.msg, _error_of(record.exc_info))
        self._log.log(level, "library.message", logger=record.name, **told)


def _is_told_otherwise(record: logging.LogRecord) -> bool:
    """Whether the gateway itself says the same, or does not say it on purpose."""
    # uvicorn's access log holds URLs; a collector that is away is told once instead of with every batch.
    return record.name.startswith(("uvicorn.access", "opentelemetry.exporter")) or (
        record.name.startswith("uvicorn") and record.levelno < logging.WARNING
    )


def _safely(message: object, error: BaseException | None) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if isinstance(message, str) and message in _KNOWN_MESSAGES:
        told["message"] = message.strip()
    if error is not None:
        told |= {"kind": type(error).__name__, "places": places(error)}
    return told


def _error_of(exc_info: Any) -> BaseException | None:
    """The error that logging's `exc_info` means, which has four forms."""
    if exc_info is True:
        return sys.exception()
    found = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return found if isinstance(found, BaseException) else None


def _named(value: object) -> str:
    """What stands for a value that JSON has no form for: its text might be an error's."""
    return type(value).__name__
