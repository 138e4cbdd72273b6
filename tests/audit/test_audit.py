"""GraphQL over HTTP as the audits of graphql-http check it, with nothing but Node's own fetch."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.audit.npm import install
from tests.e2e.requirement import need_node
from tests.harness import Gateway

HERE = Path(__file__).parent
# These ask `__type`, which is introspection.
MISSED_WITHOUT_INTROSPECTION = ["28B9", "2EA1", "6A70", "D6D5"]


def audited(gateway: Gateway) -> list[dict[str, Any]]:
    """The result of every audit."""
    need_node()
    install(HERE)
    done = subprocess.run(
        ["node", "audit.js", f"{gateway.url}/graphql"],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def test_every_audit_passes(serve_gateway: Callable[..., Gateway]) -> None:
    results = audited(serve_gateway(gateway_introspection=True))

    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == 61


def test_only_introspection_is_missed_where_it_is_off(serve_gateway: Callable[..., Gateway]) -> None:
    results = audited(serve_gateway(gateway_introspection=False))

    assert sorted(result["id"] for result in results if result["status"] != "ok") == MISSED_WITHOUT_INTROSPECTION
    assert len(results) == 61
