"""Credentials and personal numbers are in no answer, log, page, error or repr."""

import logging
from collections.abc import Callable

import pytest

from gateway.leyr.client import LeyrTransport
from gateway.settings import SettingsError, load_settings
from tests.harness import CLIENT_SECRET, Gateway, Simulator

PERSONAL_NUMBER = "191212121212"


def test_credentials_and_personal_numbers_reach_no_answer_log_or_page(
    serve_gateway: Callable[..., Gateway], simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = serve_gateway(gateway_graphiql=True, gateway_log_level="debug")
    answers = [gateway.ask("{ careUnits { resources { id } timeslots { start } } }")]

    for fault in ("emr_error_401", "cut", "html_200", "wrong_types", "service_unavailable"):
        simulator.fault(fault)
        answers.append(gateway.ask("{ careUnits { id } }"))
        simulator.http.request("DELETE", "/__faults")
    answers += [
        gateway.ask("query($id: ID!) { node(id: $id) { id } }", id=PERSONAL_NUMBER),
        gateway.ask("query($id: ID!) { node(id: $id) { id } }", id=f"se_personal_number:{PERSONAL_NUMBER}"),
        gateway.ask("query($s: DateTime!) { careUnits { timeslots(start: $s) { start } } }", s=PERSONAL_NUMBER),
        gateway.ask("query($f: Int!) { careUnits { timeslots(first: $f) { start } } }", f=PERSONAL_NUMBER),
        gateway.ask("{ careUnits(emr: $emr) { id } }", emr=PERSONAL_NUMBER),
    ]
    page = gateway.http.get("/graphql", headers={"accept": "text/html"})

    seen = repr(answers) + gateway.log.getvalue() + page.text + repr(dict(page.headers)) + caplog.text
    assert CLIENT_SECRET not in seen
    assert PERSONAL_NUMBER not in seen
    assert sum("errors" in answer for answer in answers) == 10


def test_settings_print_stars() -> None:
    settings = load_settings(leyr_client_id="the-id-canary", leyr_client_secret="the-secret-canary")

    assert "canary" not in repr(settings) + str(settings) + repr(settings.model_dump()) + settings.model_dump_json()


def test_a_refused_setting_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEYR_CLIENT_SECRET", "canary with spaces")
    monkeypatch.setenv("LEYR_BASE_URL", "https://canary:canary@leyr.example/api")

    with pytest.raises(SettingsError) as refusal:
        load_settings()

    assert "LEYR_CLIENT_SECRET" in str(refusal.value)
    assert "LEYR_BASE_URL" in str(refusal.value)
    assert "canary" not in str(refusal.value)


def test_the_transport_does_not_show_its_headers() -> None:
    settings = load_settings(leyr_client_id="the-id-canary", leyr_client_secret="the-secret-canary")

    assert "canary" not in repr(LeyrTransport("https://leyr.example/api", *settings.credentials()))
