"""The log: one JSON object a line, with a fixed event name and fields; and how all other output is kept out of it."""

import asyncio
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from traceback import walk_tb
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from gateway.log_stream import LogStream

_MAX_PLACES = 8
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
# Messages of libraries that hold nothing of a request or an error. Some build their text before they log it, asyncio
# with the error's own in it, so a message that is not listed here is left out.
_SAFE_MESSAGES = frozenset(
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
    level: str,
    to: TextIO | LogStream,
    *,
    console: bool | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FilteringBoundLogger:
    """Make a log without configuring anything global.

    Fields follow timestamp, level and event in the order in which they are given; of an error only its class and where
    in the code it arose are written. `console` is the form for people, and the default on a terminal. A line that the
    stream does not take is lost: no call raises.
    """
    processors: list[structlog.typing.Processor] = [_JsonLines(now, to.process if isinstance(to, LogStream) else {})]
    if to.isatty() if console is None else console:
        processors.append(_console_lines(colors=to.isatty()))
    log = structlog.wrap_logger(
        _Stream(to),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    # Bound once: structlog's lazy proxy would look for its class at every line.
    return cast("FilteringBoundLogger", log.bind())


def places(error: BaseException) -> list[str]:
    """Give where in the code an error arose, as `module:function:line`, outermost first; the last eight."""
    found = [
        f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}:{line}"
        for frame, line in walk_tb(error.__traceback__)
    ]
    return found[-_MAX_PLACES:]


def capture_library_logs(log: FilteringBoundLogger) -> None:
    """Write what this process's libraries log, its warnings and its uncaught errors to `log`, for good.

    Their texts are left out, since they may hold what clients or EHRs sent. uvicorn has to run with
    `log_config=None`, else it undoes this.
    """
    root = logging.getLogger()
    for logger in root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.handlers.clear()
            logger.propagate = True
    root.handlers[:] = [_LibraryMessages(log)]
    root.setLevel(log.get_effective_level())

    def log_uncaught(where: str, kind: type[BaseException] | None, error: BaseException | None) -> None:
        if kind is not None and not issubclass(kind, KeyboardInterrupt | SystemExit):
            log.critical("process.fault", where=where, kind=kind.__name__, places=places(error) if error else [])

    def log_warning(*args: Any, **_: Any) -> None:
        _message, category, filename, line = args[:4]
        place = f"{PurePath(filename).stem}:{line}"
        log.warning("library.message", logger="warnings", kind=category.__name__, places=[place])

    sys.excepthook = lambda kind, error, _: log_uncaught("main", kind, error)
    sys.unraisablehook = lambda args: log_uncaught("cleanup", args.exc_type, args.exc_value)
    threading.excepthook = lambda args: log_uncaught("thread", args.exc_type, args.exc_value)
    warnings.showwarning = log_warning


def asyncio_handler(log: FilteringBoundLogger) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Make an event loop's exception handler, which logs errors that nothing awaited, without their text."""

    def handle(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.error("process.fault", where="loop", **_safe_fields(context.get("message"), context.get("exception")))

    return handle


class _JsonLines:
    """Renders an event as a line of JSON; a single processor, since every response waits for its line."""

    def __init__(self, now: Callable[[], datetime], process: Mapping[str, object]) -> None:
        self._now = now
        self._process = process

    def __call__(self, _: object, level: str, fields: EventDict) -> str:
        event = fields.pop("event")
        line: dict[str, Any] = {"timestamp": self._now(), "level": level, "event": event}
        if "exc_info" in fields:
            line |= _safe_fields(None, _error_of(fields.pop("exc_info")))
        line.update(fields)
        line.update(self._process)
        try:
            return orjson.dumps(line, _type_name, _OPTIONS).decode()
        except TypeError:
            # An integer of more than 64 bits, or half a surrogate pair.
            head = {"timestamp": line["timestamp"], "level": level, "event": event, **self._process}
            return orjson.dumps({**head, "unwritable": sorted(map(str, fields))}, option=_OPTIONS).decode()


def _console_lines(*, colors: bool) -> structlog.typing.Processor:
    """Make the processor for people, which renders the line of JSON, so that it can show nothing else."""
    render = structlog.dev.ConsoleRenderer(colors=colors, sort_keys=False)
    return lambda log, level, line: f"{render(log, level, orjson.loads(cast('str', line)))}\n"


class _Stream:
    """Writes lines, each in one piece so that several processes can share a pipe."""

    def __init__(self, to: TextIO | LogStream) -> None:
        self._to = to
        self._flushes_itself = bool(getattr(to, "line_buffering", False))

    def info(self, line: str) -> None:
        try:
            self._to.write(line)
            if not self._flushes_itself:
                self._to.flush()
        except (OSError, ValueError):
            # A broken pipe, a full disk or a closed stream; there is nowhere to log it, and requests go on.
            return

    debug = warning = error = critical = info


class _LibraryMessages(logging.Handler):
    """Logs the name of a library's logger and the level; the message only where it is known to be constant."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if _is_redundant(record):
            return
        level = next((level for level in _LEVELS if record.levelno >= level), logging.DEBUG)
        fields = _safe_fields(record.msg, _error_of(record.exc_info))
        self._log.log(level, "library.message", logger=record.name, **fields)


def _is_redundant(record: logging.LogRecord) -> bool:
    """Does the gateway log the same itself, or leave it out on purpose?"""
    # uvicorn's access log holds URLs; a collector that is away is logged once instead of with every batch.
    return record.name.startswith(("uvicorn.access", "opentelemetry.exporter")) or (
        record.name.startswith("uvicorn") and record.levelno < logging.WARNING
    )


def _safe_fields(message: object, error: BaseException | None) -> dict[str, Any]:
    """Make the fields of a library's message and of an error, without any text that is not known to be safe."""
    fields: dict[str, Any] = {}
    if isinstance(message, str) and message in _SAFE_MESSAGES:
        fields["message"] = message.strip()
    if error is not None:
        fields |= {"kind": type(error).__name__, "places": places(error)}
    return fields


def _error_of(exc_info: Any) -> BaseException | None:
    """Give the error that logging's `exc_info` means, which has four forms."""
    if exc_info is True:
        return sys.exception()
    found = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return found if isinstance(found, BaseException) else None


def _type_name(value: object) -> str:
    """Name the type of a value that JSON has no form for, since the value's text may be an error's."""
    return type(value).__name__
