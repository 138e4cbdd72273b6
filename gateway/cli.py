"""The command line: `gateway serve`, `dev`, `simulator`, `plan`, `schema`, `settings` and `healthcheck`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from secrets import token_hex
from socket import socket
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from structlog.typing import FilteringBoundLogger

from gateway.domain.appointments import PatientIdentification
from gateway.domain.window import time_zone
from gateway.dry_run import Sizes, dry_run
from gateway.processes import Process, listen
from gateway.schema.query import sdl
from gateway.server.allocator import restart_with_kept_heap
from gateway.server.graceful_shutdown import ShutdownTimeouts
from gateway.server.serving import (
    BindError,
    StartError,
    listening_socket,
    serve,
    serve_in_thread,
    url_of,
)
from gateway.settings import SettingsError, load_settings, settings_table
from gateway.simulator import Behaviour, SimulatorSettings, announcement, create_simulator
from gateway.telemetry.traces import TracesError

_SIMULATED = "All data here is simulated: invented clinics, people and free times."
# Where development servers of pages listen: Vite, Next.js and others, each on a port of its own.
_LOCAL_PAGES = tuple(
    f"{scheme}://{host}:*" for scheme in ("http", "https") for host in ("localhost", "127.0.0.1", "[::1]")
)
_MAX_ASSUMED = 1_000
_SIMULATOR_PORT = 9000
_STDERR = 2


class InputError(Exception):
    """A file on the command line cannot be used; the message says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0 for success, 1 for a failure, 2 for a wrong command line."""
    _open_standard_streams()
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (SettingsError, BindError, StartError, TracesError, InputError) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1


def _open_standard_streams() -> None:
    """Open what whoever started the process has closed, so that there is a log and no socket takes its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STDERR, "w", encoding="utf-8", closefd=False)


def _serve(options: argparse.Namespace) -> int:
    settings = load_settings(gateway_host=options.host, gateway_port=options.port, gateway_workers=options.workers)
    restart_with_kept_heap(settings.gateway_kept_heap_mb, os.environ)

    several = {} if settings.gateway_workers == 1 else {"workers": settings.gateway_workers}

    def announce(log: FilteringBoundLogger, url: str) -> None:
        log.info("gateway.serving", url=url, emrs=settings.leyr_emrs, auth=settings.gateway_auth, **several)

    stop = ShutdownTimeouts(
        settings.gateway_drain_seconds,
        grace_seconds=settings.grace_seconds,
        clean_up_seconds=1 + (0 if settings.gateway_journal is None else settings.gateway_booking_seconds),
    )
    process = Process.of(settings, announce, stop=stop, takes_signals=True)
    return process.run_workers(settings.gateway_workers) if several else process.run()


def _simulator_socket(port: int | None) -> socket:
    if port is not None:
        return listen("127.0.0.1", port, "--simulator-port")
    try:
        return listening_socket("127.0.0.1", _SIMULATOR_PORT)
    except BindError:
        return listening_socket("127.0.0.1", 0)


def _dev(options: argparse.Namespace) -> int:
    simulator = _simulator_settings(options)
    listener = _simulator_socket(options.simulator_port)
    with TemporaryDirectory() as folder, serve_in_thread(create_simulator(simulator), listener) as simulator_url:
        settings = load_settings(
            leyr_base_url=f"{simulator_url}/api",
            leyr_client_id=simulator.client_id,
            leyr_client_secret=simulator.client_secret,
            gateway_host=options.host,
            gateway_port=options.port,
            **_unless_set(
                leyr_emrs=simulator.emrs,
                gateway_graphiql=True,
                gateway_introspection=True,
                gateway_cors_origins=_LOCAL_PAGES,
                gateway_journal=Path(folder) / "journal.sqlite",
                gateway_booking_secret=token_hex(32),
                gateway_anonymous_booking=True,
                gateway_anonymous_patient_by=tuple(each.lower() for each in PatientIdentification),
            ),
        )

        def announce(_: FilteringBoundLogger, url: str) -> None:
            print(f"{announcement(simulator)}\nSIMULATED DATA. {_SIMULATED}\n", flush=True)
            print(f"GraphiQL and GraphQL:  {url}/graphql", flush=True)
            print(f"The simulated Leyr:    {simulator_url}\n\nCtrl-C stops both.", flush=True)

        return Process.of(settings, announce, stop=ShutdownTimeouts(), notice=_SIMULATED).run()


def _simulator(options: argparse.Namespace) -> int:
    settings = _simulator_settings(options)
    listener = listen(options.host, options.port, "--port")
    print(f"{announcement(settings)}\nListening on {url_of(listener)}", flush=True)
    return 0 if serve(create_simulator(settings), listener) else 1


def _plan(options: argparse.Namespace) -> int:
    """Print the calls of a query; the exit status is 1 where the query has errors."""
    try:
        document = options.document.read().decode("utf-8-sig")
        variables = json.loads(options.variables.read()) if options.variables else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"a file cannot be read: {error}") from None
    if not isinstance(variables, dict):
        raise InputError("the variables are not a JSON object")
    settings = load_settings(**_unless_set(leyr_client_id="plan", leyr_client_secret="plan"))  # noqa: S106 # sent to nobody
    sizes = Sizes(options.care_units, options.resources, options.services)
    planned = dry_run(settings, document, variables, options.operation, sizes)
    if options.json:
        calls = [
            {"method": method, "target": target, "count": count}
            for (method, target), count in zip(
                map(_method_and_target, planned.calls), planned.calls.values(), strict=True
            )
        ]
        plan = {"total": planned.total, "calls": calls, "errors": planned.errors}
        print(json.dumps(plan, indent=2, ensure_ascii=False))
    else:
        for target, count in planned.calls.items():
            print(f"{count:>4} x {' '.join(_method_and_target(target))}")
        print(f"{planned.total:>4} calls")
    for message in planned.errors:
        print(f"gateway: {message}", file=sys.stderr)
    return 1 if planned.errors else 0


def _schema(_: argparse.Namespace) -> int:
    print(sdl(), end="")
    return 0


def _settings(_: argparse.Namespace) -> int:
    print(settings_table(), end="")
    return 0


def _healthcheck(options: argparse.Namespace) -> int:
    """Request `/readyz` of the gateway on this machine; for containers without a shell."""
    settings = load_settings(gateway_port=options.port)
    is_any_address = settings.gateway_host in {"0.0.0.0", "::"}  # noqa: S104 # compared, not bound
    host = "localhost" if is_any_address else settings.gateway_host
    connection = HTTPConnection(host, settings.gateway_port, timeout=3)
    try:
        connection.request("GET", "/readyz")
        return 0 if connection.getresponse().status == 200 else 1  # noqa: PLR2004 # HTTP's plain success
    except (OSError, HTTPException):
        return 1
    finally:
        connection.close()


def _method_and_target(call: str) -> tuple[str, str]:
    """The method and the target of a planned call; most are GET, which it leaves out."""
    method, _, target = call.partition(" ")
    return (method, target) if method in {"POST", "PATCH"} else ("GET", call)


def _unless_set(**values: object) -> dict[str, object]:
    """Leave out the settings that the environment has."""
    return {name: value for name, value in values.items() if not os.environ.get(name.upper())}


def _simulator_settings(options: argparse.Namespace) -> SimulatorSettings:
    emrs = SimulatorSettings(today=date.min).emrs
    switches: dict[str, dict[str, Any]] = {}
    for emr, key, value in options.behaviour:
        for code in emrs if emr == "*" else (emr,):
            switches.setdefault(code, {})[key] = value
    try:
        return SimulatorSettings(
            seed=options.seed,
            today=options.today or datetime.now(time_zone("Europe/Stockholm")).date(),
            scale=options.scale,
            care_units=options.care_units,
            latency_ms=options.latency,
            behaviour={code: msgspec.convert(each, Behaviour) for code, each in switches.items()},
        )
    except (ValueError, msgspec.ValidationError) as error:
        raise SettingsError(str(error)) from None


def _behaviour_switch(text: str) -> tuple[str, str, Any]:
    name, equals, value = text.partition("=")
    emr, dot, key = name.partition(".")
    if not (equals and dot and emr and key):
        raise argparse.ArgumentTypeError("write EMR.KEY=VALUE, such as takecare.time_format=utc; EMR may be *")
    try:
        return emr, key, json.loads(value)
    except ValueError:
        return emr, key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gateway", description="One GraphQL endpoint in front of Leyr's REST API.")
    commands = parser.add_subparsers(title="commands", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    serve_command = command("serve", _serve, "Serve the gateway; settings come from the environment.")
    _add_address(serve_command)
    serve_command.add_argument("--workers", type=int, metavar="N", help="processes (overrides GATEWAY_WORKERS)")
    dev = command("dev", _dev, "Serve the gateway on simulated data, with GraphiQL.")
    _add_address(dev)
    text = f"port of the simulator ({_SIMULATOR_PORT}, or else a free one)"
    dev.add_argument("--simulator-port", type=int, help=text)
    _add_simulated_data(dev)
    simulator = command("simulator", _simulator, "Serve a stand-in for Leyr's REST API.")
    simulator.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    simulator.add_argument("--port", type=int, default=_SIMULATOR_PORT, help="port to listen on (%(default)s)")
    _add_simulated_data(simulator)
    _add_plan(command("plan", _plan, "Print the calls to Leyr that a query would make, without making them."))
    command("schema", _schema, "Print the GraphQL schema.")
    command("settings", _settings, "Print the settings as a table.")
    health = command("healthcheck", _healthcheck, "Exit with 0 if the gateway on this machine is ready.")
    health.add_argument("--port", type=int, help="its port (GATEWAY_PORT)")
    return parser


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("document", type=argparse.FileType("rb"), help="a GraphQL document; - for stdin")
    parser.add_argument("--variables", type=argparse.FileType("rb"), help="a JSON file with its variables")
    parser.add_argument("--operation", help="which operation of the document, where it has several")
    parser.add_argument("--json", action="store_true", help="print JSON")
    for name, what in (("care-units", "an EHR"), ("resources", "a care unit"), ("services", "a care unit")):
        text = f"how many {what} has beside those named (%(default)s)"
        parser.add_argument(f"--{name}", type=_count, default=1, metavar="N", help=text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > _MAX_ASSUMED:
        raise argparse.ArgumentTypeError(f"write a number from 0 to {_MAX_ASSUMED}")
    return int(text)


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on (overrides GATEWAY_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (overrides GATEWAY_PORT)")


def _add_simulated_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="which invented world to serve (%(default)s)")
    parser.add_argument("--scale", type=int, default=1, help="multiplies the data (%(default)s)")
    parser.add_argument("--care-units", type=int, metavar="N", help="care units of each EHR (three to six)")
    parser.add_argument("--latency", type=float, default=150, help="milliseconds an answer takes (%(default)s)")
    parser.add_argument("--today", type=date.fromisoformat, help="first day with free times (the real today)")
    parser.add_argument(
        "--behaviour",
        "--manners",
        dest="behaviour",
        type=_behaviour_switch,
        action="append",
        default=[],
        metavar="EMR.KEY=VALUE",
        help="switch how an EHR behaves, such as webdoc.longest_window_days=7; EMR may be *; repeatable",
    )
