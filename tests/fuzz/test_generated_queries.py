"""Queries that Schemathesis makes from the schema, by the hundred: no answer is the server's fault."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.e2e.requirement import need
from tests.harness import Gateway

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCHEMATHESIS = ROOT / ".venv" / "fuzz" / "bin" / "schemathesis"
NODES = "{ careUnits { id resources { id } healthcareServices { id } timeslots(first: 3) { id } } emrs { id code } }"
CHECKS = "only_clients_are_at_fault,EveryRootFieldGaveData,response_schema_conformance,negative_data_rejection"
# As many in all for 14 operations as 200 each were for 10.
OPTIONS = ["--max-examples=145", "--seed=20261012", "--workers=1", "--generation-database=none", "--no-color"]


def config(gateway: Gateway) -> str:
    """A configuration whose dictionaries hold what the simulated world has, since made-up ids find nothing."""
    found = gateway.data(NODES)
    units = [unit["id"] for unit in found["careUnits"]]
    resources = [each["id"] for unit in found["careUnits"] for each in unit["resources"]]
    services = [each["id"] for unit in found["careUnits"] for each in unit["healthcareServices"]]
    timeslots = [each["id"] for unit in found["careUnits"] for each in unit["timeslots"]]
    dictionaries = {
        "units": units,
        "nodes": [*units, *resources[:20], *services[:20], *timeslots, *(emr["id"] for emr in found["emrs"])],
        "timeslots": timeslots,
        "resources": resources[:12],
        "services": services[:7],
        "emrs": [emr["code"] for emr in found["emrs"]],
        "zones": ["Europe/Stockholm", "UTC", "America/Santiago"],
    }
    bindings = {
        "Query.careUnit.id": "units",
        "Query.node.id": "nodes",
        "Query.nodes.ids.[*]": "nodes",
        "Query.availability.careUnitIds.[*]": "units",
        "*.availability.timeZone": "zones",
        "Query.timeslot.id": "timeslots",
        "Query.careUnits.emr": "emrs",
        "Query.emr.code": "emrs",
        "*.timeslots.resourceId": "resources",
        "*.timeslots.healthcareServiceId": "services",
    }
    tables = [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in dictionaries.items()]
    # One care unit that is none, or one zone, has the whole of an availability refused.
    usual = {key: 0.95 if "availability" in key else 0.7 for key in bindings}
    lines = [f'"{key}" = {{ dictionary = "{name}", probability = {usual[key]} }}\n' for key, name in bindings.items()]
    return "".join([*tables, "[parameters]\n", *lines])


def test_no_generated_query_is_the_servers_fault(serve_gateway: Callable[..., Gateway], tmp_path: Path) -> None:
    need("fuzz", there=SCHEMATHESIS.is_file(), how="run `make fuzz`")
    booking = {"gateway_journal": tmp_path / "journal.sqlite", "gateway_booking_secret": "s" * 32}
    gateway = serve_gateway(**booking, gateway_anonymous_booking=True)
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(config(gateway), encoding="utf-8")

    done = subprocess.run(
        [SCHEMATHESIS, "--config-file", settings, "run", ROOT / "schema.graphql", "--url", f"{gateway.url}/graphql",
         "--checks", CHECKS, *OPTIONS],
        cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(HERE / "answers.py")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert "14/14" in done.stdout
    assert gateway.data("{ careUnits { id } }")["careUnits"]
    assert not [word for word in ("INTERNAL", "Traceback", '"level":"error"') if word in gateway.log.getvalue()]
