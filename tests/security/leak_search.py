"""Searches responses, logs, spans, upstream calls and memory of a gateway for a personal number."""

import functools
import gc
import json
import logging
import re
import socket
import sys
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import StringIO
from time import time_ns
from types import CodeType, FrameType, FunctionType, MappingProxyType, ModuleType
from typing import Any
from urllib.parse import unquote_plus

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.app import create_app
from gateway.domain.booking import BookingFailureReason, Refused
from gateway.server.serving import listening_socket, serve_in_thread
from gateway.settings import Settings
from gateway.telemetry.spans import Spans, tracer_to
from gateway.telemetry.traces import Traces
from tests.harness import CACHES_ON, ERROR_BODY, NOW, leyr_settings, no_certificates
from tests.security.personal_numbers_in_requests import Request
from tests.unit.schema.scripted_bookings import ScriptedBookings

_DIGITS = "1212121212"
_BETWEEN = re.compile(r"(?<=\d)[^0-9A-Za-z]{1,4}(?=\d)")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{13,}")
_CACHE = type(functools.lru_cache(lambda: None))
# What the tests themselves use to ask.
_CLIENT_LOGS = ("httpx", "httpcore")


def holds_the_number(text: str) -> bool:
    """Whether a text holds the test person's number, in any spelling and encoding, even twice encoded."""
    return any(_DIGITS in _BETWEEN.sub("", each) for each in _readings(text, 3))


def _readings(text: str, depth: int) -> Iterator[str]:
    yield text
    if depth == 0:
        return
    plain = unquote_plus(text)
    if plain != text:
        yield from _readings(plain, depth - 1)
    for token in _BASE64.findall(text):
        # What is before it may look like base64 too, and so shift it.
        for start in range(4):
            whole = token[start:].replace("-", "+").replace("_", "/")
            padded = whole[:-1] if len(whole) % 4 == 1 else whole + "=" * (-len(whole) % 4)
            yield from _readings(b64decode(padded).decode("latin-1"), depth - 1)


@dataclass
class Watched:
    """A running gateway, and the places where the number came out."""

    app: object
    http: httpx.Client
    log: StringIO
    spans: InMemorySpanExporter
    upstream_calls: Callable[[], Iterable[object]]
    capfd: pytest.CaptureFixture[str]
    caplog: pytest.LogCaptureFixture
    seen: list[str] = field(default_factory=list)
    """Where the number came out: the place and a piece of the text."""

    def send(self, request: Request) -> httpx.Response:
        """Send it, and look at all of the answer but the data, which hold what was asked for."""
        response = self.http.request(request.method, request.target, content=request.body, headers={**request.headers})
        self.look("header", (f"{name}: {value}" for name, value in response.headers.multi_items()))
        self.look(f"answer {response.status_code}", _beside_data(response))
        return response

    def send_bytes(self, request: bytes) -> None:
        """Send bytes that may be no HTTP, and look at all that comes back within a second."""
        with socket.create_connection((self.http.base_url.host, self.http.base_url.port), timeout=1) as connection:
            connection.sendall(request)
            with suppress(TimeoutError, ConnectionResetError):
                while piece := connection.recv(65_536):
                    self.look("raw answer", piece.decode("latin-1").splitlines())

    def look(self, place: str, texts: Iterable[str]) -> None:
        """Note the texts that hold the number."""
        self.seen += [f"{place}: {text[:300]}" for text in texts if holds_the_number(text)]

    def look_outside(self) -> None:
        """Look at the gateway's log and its spans, at what was printed, and at what libraries logged."""
        # Tasks that failed and were forgotten tell so when they are collected.
        gc.collect()
        printed = self.capfd.readouterr()
        records = [each for each in self.caplog.records if not each.name.startswith(_CLIENT_LOGS)]
        self.look("log", self.log.getvalue().splitlines())
        self.look("span", (span.to_json(indent=None) for span in self.spans.get_finished_spans()))
        self.look("stdout", printed.out.splitlines())
        self.look("stderr", printed.err.splitlines())
        self.look("logging", (f"{each.name}: {logging.Formatter().format(each)}" for each in records))

    def look_upstream(self) -> None:
        """Look at the calls that Leyr got."""
        self.look("upstream call", (json.dumps(call) for call in self.upstream_calls()))

    def look_inside(self) -> None:
        """Look at the keys of everything that the gateway keeps."""
        keys = {f"{type(key).__name__} {key!r}" for key in kept_keys([self.app, *gateway_caches()])}
        assert len(keys) > 100
        self.look("kept", keys)

    def look_everywhere(self) -> list[str]:
        """All that was seen."""
        self.look_outside()
        self.look_upstream()
        self.look_inside()
        return self.seen


def _beside_data(response: httpx.Response) -> Iterator[str]:
    try:
        answer = response.json()
    except ValueError:
        yield response.text
        return
    if not isinstance(answer, dict):
        yield response.text
        return
    errors = answer.get("errors", [])
    yield from (json.dumps(error, ensure_ascii=False) for error in errors)
    yield json.dumps({name: value for name, value in answer.items() if name not in {"data", "errors"}})


def kept_keys(roots: Iterable[object]) -> Iterator[object]:
    """The keys of all dicts, and the members of all sets, that can be reached; code itself is left out."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        found = waiting.pop()
        if id(found) in seen or isinstance(found, ModuleType | type | CodeType | FrameType):
            continue
        seen[id(found)] = found
        if isinstance(found, dict | set | frozenset):
            yield from list(found)
        if isinstance(found, FunctionType):
            # Not its globals, which lead to the tests' own modules.
            waiting += [found.__closure__, found.__defaults__, found.__kwdefaults__]
        else:
            waiting += gc.get_referents(found)


def gateway_caches() -> list[Any]:
    """What the gateway's functions remember, beside what belongs to an application."""
    modules = [module for name, module in sys.modules.items() if name.startswith("gateway.")]
    found = [each for module in modules for each in vars(module).values() if isinstance(each, _CACHE)]
    return [each for each in found if each.__module__.startswith("gateway.")]


@contextmanager
def watched(
    url: str,
    emrs: tuple[str, ...],
    calls: Callable[[], Iterable[object]],
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    settings: Mapping[str, Any] = MappingProxyType({}),
    **parts: Any,
) -> Iterator[Watched]:
    """Serve a gateway that remembers all it can and logs all it can, on an upstream; `parts` are create_app's."""
    caplog.set_level(logging.DEBUG)
    for cache in gateway_caches():
        cache.cache_clear()
    given: dict[str, Any] = {
        **leyr_settings(url, emrs),
        "gateway_log_level": "debug",
        "gateway_cors_origins": ("https://book.example",),
        "gateway_anonymous_booking": True,
        "gateway_anonymous_patient_by": ("leyr_id", "emr_id", "national_number", "details"),
        **CACHES_ON,
        **settings,
    }
    log, spans = StringIO(), InMemorySpanExporter()
    made = Spans(tracer_to(SimpleSpanProcessor(spans)), emrs=emrs, ratio=1, now_ns=time_ns, chance=lambda: 0)
    traces = Traces(made.started, made.finished, made, spans.shutdown)
    bookings = ScriptedBookings(Refused(BookingFailureReason.PATIENT_REJECTED))
    known = {"now": lambda: NOW, "log_to": log, "traces": traces, "bookings": bookings}
    app = create_app(Settings(**given), **{**known, **parts})
    with (
        serve_in_thread(app, listening_socket("127.0.0.1", 0), error_body=ERROR_BODY) as address,
        httpx.Client(base_url=address, timeout=30, verify=no_certificates()) as http,
    ):
        yield Watched(app, http, log, spans, calls, capfd, caplog)
