"""The gateway without the extra `shared`, and without a shared store."""

import pytest

from tests.harness import CLIENT_ID, CLIENT_SECRET
from tests.processes import run_python

CREDENTIALS = {"LEYR_CLIENT_ID": CLIENT_ID, "LEYR_CLIENT_SECRET": CLIENT_SECRET}
HEAVY = (
    "hiredis",
    "redis",
    *(f"gateway.shared_store.{name}" for name in ("store", "pipeline", "connection", "sealing")),
)


def test_a_store_without_the_extra_says_what_to_install() -> None:
    run = "import sys; sys.modules['hiredis'] = None; from gateway.cli import main; sys.exit(main(['serve']))"

    refused = run_python("-c", run, **CREDENTIALS, GATEWAY_SHARED_URL="redis://:canary@h", GATEWAY_PORT="0")

    assert refused.returncode == 1
    assert refused.stderr == (
        "gateway: GATEWAY_SHARED_URL needs the extra `shared`, which is not installed: "
        "run `python -m pip install --require-hashes -r requirements/extras.txt`, "
        "or build the image with `--build-arg LOCK=extras`\n"
    )


@pytest.mark.parametrize("url", [{}, {"GATEWAY_SHARED_URL": "unix:///none"}], ids=["alone", "shared"])
def test_nothing_of_the_store_is_imported_unless_it_is_set(url: dict[str, str]) -> None:
    make = "from gateway.app import create_app; from gateway.settings import load_settings; create_app(load_settings())"
    show = f"print([name for name in {HEAVY!r} if name in sys.modules])"

    done = run_python("-c", f"import sys; {make}; {show}", **CREDENTIALS, **url)

    imported = [name for name in HEAVY if url and name != "redis"]
    assert done.stdout.splitlines()[-1] == str(imported), done.stderr
