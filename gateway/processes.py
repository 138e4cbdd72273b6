"""The gateway as a process, or as several workers: what each opens, and in which order."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from random import random
from socket import socket
from time import time_ns
from typing import Any, TypedDict
from uuid import uuid4

from starlette.applications import Starlette
from structlog.typing import FilteringBoundLogger

from gateway.app import create_app
from gateway.configuration import Configuration
from gateway.http.csrf import Origins
from gateway.http.error_responses import server_error_body
from gateway.log_stream import LogStream
from gateway.logging import build_log, capture_library_logs
from gateway.server.graceful_shutdown import ShutdownTimeouts
from gateway.server.protocol import Readiness
from gateway.server.request_head import ConnectionLimits, ErrorBody, ErrorHeaders
from gateway.server.serving import (
    BindError,
    PortRefusedError,
    listening_sockets,
    serve,
    serve_in_thread,
    server_in_loop,
    url_of,
)
from gateway.server.workers import Told, Work, Workers
from gateway.settings import Settings, SettingsError
from gateway.telemetry.metrics import Metrics, metrics_app
from gateway.telemetry.traces import Traces, traces_to
from gateway.telemetry.worker_metrics import WorkerMetrics, report_of

# The metrics are served until the gateway has stopped, so that only a scrape may be in flight then.
_METRICS_STOP = ShutdownTimeouts(grace_seconds=2)
# A worker that takes longer to say how it is counts with what it said before.
_REPORT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Process:
    """What is made before anything is served: of several workers by their parent.

    `announce` is called with the log and the URL when there is one.
    """

    settings: Settings
    stop: ShutdownTimeouts
    announce: Callable[[FilteringBoundLogger, str], None]
    stream: LogStream
    log: FilteringBoundLogger
    metrics: Metrics | None
    traces: Traces | None
    readiness: Readiness
    app: Starlette
    is_for_everyone: bool

    @classmethod
    def of(
        cls,
        settings: Settings,
        announce: Callable[[FilteringBoundLogger, str], None],
        *,
        stop: ShutdownTimeouts,
        notice: str = "",
        takes_signals: bool = False,
    ) -> "Process":
        """Make everything. With a `notice` the data are for everyone. Raises SettingsError and TracesError."""
        stream = LogStream(sys.stderr)
        log = build_log(settings.gateway_log_level, stream)
        stream.on_lost = partial(_log_lost, log)
        # Before anything is created: OpenTelemetry quotes its own settings where they are wrong.
        capture_library_logs(log)
        metrics = None
        if settings.gateway_metrics_port is not None:
            metrics = Metrics(settings.leyr_emrs, log_lines_lost=lambda: stream.lost)
        traces = _traces(settings, log)
        readiness = Readiness()
        told: dict[str, Any] = {"log_to": stream, "metrics": metrics, "traces": traces, "readiness": readiness}
        app = create_app(settings, **told, notice=notice, takes_signals=takes_signals)
        return cls(settings, stop, announce, stream, log, metrics, traces, readiness, app, bool(notice))

    def run(self) -> int:
        """Serve until a signal stops it; gives the exit status. Raises BindError and SettingsError."""
        with ExitStack() as stack:
            stack.callback(self.stream.close)
            (listener,) = self._listen(1)
            if self.metrics is not None:
                served = serve_in_thread(metrics_app(self.metrics), self._metrics_socket(), stop=_METRICS_STOP)
                stack.enter_context(served)
            self.announce(self.log, url_of(listener))
            return self._serve(listener)

    def run_workers(self, count: int) -> int:
        """Serve with so many workers until a signal stops them; gives the exit status.

        Raises BindError and SettingsError.
        """
        if sys.platform != "linux":
            raise SettingsError("GATEWAY_WORKERS or --workers: only Linux shares out connections among several; set 1")
        configuration: Configuration = self.app.state.configuration
        listeners = self._listen(count)
        workers = Workers(
            listeners,
            Work(self._serve_as_worker, self._report),
            stop=self.stop,
            readiness=self.readiness,
            log=self.log,
            on_hangup=configuration.reload_for_forks,
        )
        with ExitStack() as stack:
            stack.callback(self.stream.close)
            told, server, metrics_socket = Told(), None, None
            if self.metrics is not None:
                merged = WorkerMetrics(self.metrics, lambda: workers.alive, lambda: workers.deaths)
                told = Told(merged.learn, merged.end)
                metrics_socket = self._metrics_socket()
                refresh = partial(workers.ask, _REPORT_SECONDS)
                server = server_in_loop(metrics_app(merged, refresh), stop=_METRICS_STOP)
            self.announce(self.log, url_of(listeners[0]))
            return workers.run(told, server, metrics_socket)

    def _serve(self, listener: socket) -> int:
        with ExitStack() as stack:
            if self.traces is not None:
                self.traces.start()
                stack.callback(self.traces.close)
            rules = _rules_of_server(self.settings)
            started = serve(self.app, listener, stop=self.stop, readiness=self.readiness, log=self.log, **rules)
            return 0 if started else 1

    def _serve_as_worker(self, number: int, listener: socket) -> int:
        self.stream.begin_in_fork(worker=number)
        try:
            return self._serve(listener)
        finally:
            self.stream.close()

    def _report(self) -> bytes:
        return b"" if self.metrics is None else report_of(self.metrics)

    def _listen(self, count: int) -> list[socket]:
        settings = self.settings
        listeners = _listening(settings.gateway_host, settings.gateway_port, "GATEWAY_PORT or --port", count)
        # Simulated data are for everyone.
        refusal = None if self.is_for_everyone else settings.refusal_to_listen(listeners[0].getsockname()[0])
        if refusal is not None:
            for each in listeners:
                each.close()
            raise SettingsError(refusal)
        return listeners

    def _metrics_socket(self) -> socket:
        port = self.settings.gateway_metrics_port or 0
        found = listen(self.settings.gateway_metrics_host, port, "GATEWAY_METRICS_PORT")
        self.log.info("gateway.metrics", url=f"{url_of(found)}/metrics")
        return found


def listen(host: str, port: int, chosen_by: str) -> socket:
    """Listen on an address; what chooses its port is said where that cannot be had. Raises BindError."""
    return _listening(host, port, chosen_by, 1)[0]


def _listening(host: str, port: int, chosen_by: str, count: int) -> list[socket]:
    try:
        return listening_sockets(host, port, count)
    except PortRefusedError as error:
        raise BindError(f"{error}; choose another port with {chosen_by}") from None


def _traces(settings: Settings, log: FilteringBoundLogger) -> Traces | None:
    if settings.gateway_traces_url is None:
        return None
    return traces_to(
        settings.gateway_traces_url,
        emrs=settings.leyr_emrs,
        ratio=settings.gateway_traces_ratio,
        now_ns=time_ns,
        chance=random,
        log=log,
    )


def _log_lost(log: FilteringBoundLogger, lines: int) -> None:
    log.warning("log.lines_lost", lines=lines, action="look at what reads the log: it took nothing for a while")


class _ServerRules(TypedDict):
    limits: ConnectionLimits
    error_body: ErrorBody
    error_headers: ErrorHeaders


def _rules_of_server(settings: Settings) -> _ServerRules:
    """What the server itself rejects, and how it says so."""
    limits = ConnectionLimits(
        header_bytes=settings.gateway_max_header_bytes,
        headers=settings.gateway_max_headers,
        url_bytes=settings.gateway_max_url_bytes,
        receive_seconds=settings.gateway_receive_seconds,
        keep_alive_seconds=settings.gateway_keep_alive_seconds,
        connections=settings.gateway_max_connections,
    )
    origins = Origins(settings.gateway_cors_origins)
    return {"limits": limits, "error_body": server_error_body(uuid4), "error_headers": origins.headers}
