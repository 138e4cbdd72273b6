"""The log: one line an event, nothing of an error but its kind and places, and no way for a line to fail a request."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import FilteringBoundLogger

from gateway.logging import asyncio_handler, build_log, capture_library_logs, places

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 10, 12, 12, 0, 0, 5000, tzinfo=UTC)
PERSONAL_NUMBER = "191212121212"


def written(write: Callable[[FilteringBoundLogger], object], level: str = "info", **form: bool) -> str:
    to = StringIO()
    write(build_log(level, to, now=lambda: NOON, **form))
    return to.getvalue()


def failure() -> ValueError:
    try:
        int(f"x{PERSONAL_NUMBER}")
    except ValueError as error:
        return error
    raise AssertionError


@dataclass
class Patient:
    number: str = PERSONAL_NUMBER


def test_an_event_is_one_line_with_its_fields_in_their_order() -> None:
    line = written(lambda log: log.info("operation.answered", status=200, codes=["NOT_FOUND"], caller=None))

    assert line == (
        '{"timestamp":"2026-10-12T12:00:00.005000Z","level":"info","event":"operation.answered",'
        '"status":200,"codes":["NOT_FOUND"],"caller":null}\n'
    )


def test_the_level_bounds_what_is_written() -> None:
    def write(log: FilteringBoundLogger) -> None:
        log.debug("one")
        log.info("two")
        log.warning("three")
        log.error("four")
        log.critical("five")

    lines = [json.loads(line) for line in written(write, "warning").splitlines()]

    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "three"),
        ("error", "four"),
        ("critical", "five"),
    ]


def test_each_line_is_written_in_one_piece() -> None:
    class Counting(StringIO):
        pieces = 0

        def write(self, text: str, /) -> int:
            self.pieces += 1
            return super().write(text)

    to = Counting()
    build_log("info", to).info("operation.answered", status=200)

    assert to.pieces == 1


@pytest.mark.parametrize("console", [True, False])
@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.error("fault", exc_info=failure()),
        lambda log: log.error("fault", exc_info=(ValueError, failure(), None)),
        lambda log: log.error("fault", reason=failure()),
        lambda log: log.error("fault", reasons=[failure()]),
        lambda log: log.error("fault", patient=Patient()),
        lambda log: log.error("fault", patient=object.__new__(type("Patient", (Patient,), {}))),
    ],
    ids=["error", "triple", "value", "list", "dataclass", "object"],
)
def test_no_text_of_an_error_or_an_object_is_written(
    write: Callable[[FilteringBoundLogger], object], console: bool
) -> None:
    line = written(write, console=console)

    assert PERSONAL_NUMBER not in line
    assert "ValueError" in line or "Patient" in line


def test_an_error_being_handled_is_logged_by_kind_and_places() -> None:
    def write(log: FilteringBoundLogger) -> None:
        try:
            int(f"x{PERSONAL_NUMBER}")
        except ValueError:
            log.exception("fault")

    line = json.loads(written(write))

    assert line.keys() == {"timestamp", "level", "event", "kind", "places"}
    assert line["kind"] == "ValueError"
    assert line["places"][-1].startswith(
        f"{__name__}:test_an_error_being_handled_is_logged_by_kind_and_places.<locals>"
    )


def test_a_deep_error_is_logged_with_its_last_places() -> None:
    def dig(depth: int) -> None:
        if depth == 0:
            raise ValueError(PERSONAL_NUMBER)
        dig(depth - 1)

    with pytest.raises(ValueError, match=PERSONAL_NUMBER) as caught:
        dig(20)

    found = places(caught.value)
    assert len(found) == 8
    assert all("dig" in place for place in found)


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.none() | st.binary() | st.lists(st.text())))
def test_an_event_is_one_line_for_any_fields(fields: dict[str, Any]) -> None:
    to = StringIO()
    log = build_log("info", to, now=lambda: NOON)

    log.info("event", **{f"field {name}": value for name, value in fields.items()})

    [line] = to.getvalue().split("\n")[:-1]
    assert json.loads(line)["event"] == "event"


@pytest.mark.parametrize("value", [2**70, "\ud800"])
def test_what_json_cannot_hold_leaves_the_name_of_its_field(value: object) -> None:
    line = json.loads(written(lambda log: log.info("event", odd=value, even=2)))

    assert line["event"] == "event"
    assert line["unwritable"] == ["even", "odd"]


def test_the_console_form_is_used_for_terminals_or_where_asked() -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    build_log("info", terminal).info("gateway.serving", url="http://127.0.0.1:8000")

    assert "gateway.serving" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert written(lambda log: log.info("gateway.serving", url="here"), console=True).split() == [
        "2026-10-12T12:00:00.005000Z",
        "[info",
        "]",
        "gateway.serving",
        "url=here",
    ]


def broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


@pytest.mark.parametrize("opened", [broken_pipe, full_disk])
@pytest.mark.parametrize("buffering", [1, -1])
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(opened: Callable[[], int], buffering: int) -> None:
    with suppress(OSError), os.fdopen(opened(), "w", buffering=buffering) as stream:
        log = build_log("info", stream)
        try:
            for _ in range(3):
                log.info("operation.answered", filling="x" * 10_000)
        except OSError as error:
            pytest.fail(f"{error!r} came through")


def test_a_closed_stream_fails_nothing() -> None:
    with StringIO() as stream:
        log = build_log("info", stream)

    log.info("operation.answered")


# What follows is run in a process of its own, since it is about what a process prints.


def log_everything() -> None:
    """Everything that prints texts by itself."""
    logging.basicConfig()
    own_handler = logging.getLogger("uvicorn.error")
    own_handler.addHandler(logging.StreamHandler())
    own_handler.propagate = False
    log = build_log("info", sys.stderr)
    capture_library_logs(log)

    logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=failure())
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://127.0.0.1")
    logging.getLogger("uvicorn.access").warning('%s - "%s %s HTTP/%s" %d', "::1", "GET", PERSONAL_NUMBER, "1.1", 200)
    logging.getLogger("strawberry.execution").error(failure(), exc_info=failure())
    logging.getLogger("root.of.evil").critical(f"failed for {PERSONAL_NUMBER}")  # noqa: G004 # as libraries do
    logging.getLogger("arguments").warning("failed for %s", PERSONAL_NUMBER)
    logging.getLogger("broken").warning("failed for %d", PERSONAL_NUMBER)
    logging.getLogger("asyncio").debug("quiet")
    logging.captureWarnings(capture=False)
    warnings.warn(PERSONAL_NUMBER, UserWarning, stacklevel=1)
    asyncio.run(forget_a_task(None))
    asyncio.run(forget_a_task(asyncio_handler(log)))
    thread = Thread(target=fail)
    thread.start()
    thread.join()
    FailsAtItsEnd()
    fail()


def fail() -> None:
    raise failure()


class FailsAtItsEnd:
    def __del__(self) -> None:
        fail()


async def forget_a_task(handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None] | None) -> None:
    async def failing() -> None:
        fail()

    asyncio.get_running_loop().set_exception_handler(handler)
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    del task


@cache
def captured_process() -> subprocess.CompletedProcess[str]:
    run = "from tests.unit.test_logging import log_everything; log_everything()"
    return subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_process_whose_logs_are_captured_prints_events_only() -> None:
    run = captured_process()

    assert PERSONAL_NUMBER not in run.stderr + run.stdout
    assert run.stdout == ""
    assert all(json.loads(line)["event"] in {"library.message", "process.fault"} for line in run.stderr.splitlines())
    assert run.returncode == 1


def test_captured_logs_name_the_logger_and_where_it_failed() -> None:
    lines = [json.loads(line) for line in captured_process().stderr.splitlines()]

    assert [
        (line["level"], line.get("logger", line.get("where")), line.get("message"), line.get("kind")) for line in lines
    ] == [
        ("error", "uvicorn.error", "Exception in ASGI application", "ValueError"),
        ("warning", "uvicorn.error", "Invalid HTTP request received.", None),
        ("error", "strawberry.execution", None, "ValueError"),
        ("critical", "root.of.evil", None, None),
        ("warning", "arguments", None, None),
        ("warning", "broken", None, None),
        ("warning", "warnings", None, "UserWarning"),
        ("error", "asyncio", None, "ValueError"),
        ("error", "loop", "Task exception was never retrieved", "ValueError"),
        ("critical", "thread", None, "ValueError"),
        ("critical", "cleanup", None, "ValueError"),
        ("critical", "main", None, "ValueError"),
    ]
    assert all("tests.unit.test_logging:" in line["places"][-1] for line in lines if line.get("kind") == "ValueError")
    assert next(line["places"] for line in lines if line.get("logger") == "warnings")[0].startswith("test_logging:")
