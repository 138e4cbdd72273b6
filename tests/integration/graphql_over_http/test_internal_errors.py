"""An unexpected exception of the gateway becomes a 500 without details."""

from datetime import datetime
from io import StringIO

import httpx
import orjson

from gateway.app import create_app
from gateway.settings import Settings
from tests.harness import CLIENT_ID, CLIENT_SECRET, refusal


def broken_clock() -> datetime:
    raise ValueError("19121212-1212")


async def test_exception_in_the_gateway_is_a_logged_500_without_its_text() -> None:
    log = StringIO()
    settings = Settings.model_validate({"leyr_client_id": CLIENT_ID, "leyr_client_secret": CLIENT_SECRET})
    app = create_app(settings, now=broken_clock, log_to=log)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as http:
        response = await http.post("/graphql", json={"query": "{ emrs { code } }"})

    fault, line = map(orjson.loads, log.getvalue().splitlines())
    assert refusal(response) == (500, "INTERNAL")
    assert (fault["event"], fault["kind"]) == ("request.fault", "ValueError")
    assert "broken_clock" in fault["places"][-1]
    assert (line["event"], line["outcome"], line["codes"]) == ("operation.answered", "failed", ["INTERNAL"])
    assert fault["request_id"] == line["request_id"] == response.headers["x-request-id"]
    assert "19121212-1212" not in response.text + log.getvalue()
