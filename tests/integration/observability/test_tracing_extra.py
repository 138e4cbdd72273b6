"""The gateway without OpenTelemetry, as it is when the extra is not installed."""

import pytest

from tests.harness import CLIENT_ID, CLIENT_SECRET
from tests.processes import run_python

CREDENTIALS = {"LEYR_CLIENT_ID": CLIENT_ID, "LEYR_CLIENT_SECRET": CLIENT_SECRET}


@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter", "requests"])
def test_traces_without_the_extra_say_what_to_install(missing: str) -> None:
    run = f"import sys; sys.modules[{missing!r}] = None; from gateway.cli import main; sys.exit(main(['serve']))"

    refused = run_python("-c", run, **CREDENTIALS, GATEWAY_TRACES_URL="http://127.0.0.1:4318", GATEWAY_PORT="0")

    assert refused.returncode == 1
    assert refused.stderr == (
        "gateway: GATEWAY_TRACES_URL needs the extra `tracing`, which is not installed: "
        "run `python -m pip install --require-hashes -r requirements/tracing.txt`, "
        "or build the image with `--build-arg LOCK=tracing`\n"
    )


def test_opentelemetry_is_not_imported_unless_traces_are_on() -> None:
    show = "print([name for name in sys.modules if name.partition('.')[0] in {'opentelemetry', 'requests', 'google'}])"

    done = run_python("-c", f"import sys; from gateway.cli import main; main(['schema']); {show}")

    assert done.stdout.splitlines()[-1] == "[]"
