"""When the issuer's keys are fetched, over HTTP: rotated, unknown, unavailable and made up."""

from pathlib import Path
from time import sleep

import pytest

from tests.harness import NOW, Clock, Simulator, refusal
from tests.integration.authentication.tokens.conftest import (
    IN_TEN_MINUTES,
    KEYS,
    NEW_KEYS,
    KeyServer,
    Serve,
    new_token,
    post,
    published,
    token,
)


@pytest.mark.parametrize("by_url", [False, True])
def test_rotated_keys_replace_the_former_ones(
    serve: Serve, key_server: KeyServer, key_file: Path, clock: Clock, by_url: bool
) -> None:
    gateway = serve(key_server.url if by_url else key_file)
    assert post(gateway, token()).status_code == 200
    assert refusal(post(gateway, new_token())) == (401, "UNAUTHENTICATED")

    key_server.response = published(NEW_KEYS)
    key_file.write_bytes(NEW_KEYS)
    clock.seconds += 30

    assert post(gateway, new_token()).status_code == 200
    assert refusal(post(gateway, token())) == (401, "UNAUTHENTICATED")


def test_unknown_key_ids_do_not_refetch_keys_each_time(serve: Serve, key_server: KeyServer, clock: Clock) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token()).status_code == 200
    for _ in range(3):
        clock.seconds += 30
        assert {post(gateway, token(kid=f"made-up-{n}")).status_code for n in range(20)} == {401, 503}

    assert key_server.asked == 1 + 5 + 1 + 1
    assert post(gateway, token()).status_code == 200


def test_tokens_that_no_key_could_help_have_no_keys_fetched(serve: Serve, key_server: KeyServer) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token()).status_code == 200
    for claims in ({"iss": "https://other.example/"}, {"aud": "other"}, {"exp": NOW.timestamp() - 60}, {"exp": None}):
        assert refusal(post(gateway, token(kid="made-up", **claims))) == (401, "UNAUTHENTICATED")

    assert key_server.asked == 1


def test_a_rotated_key_is_found_though_a_stranger_asked_a_moment_before(
    serve: Serve, key_server: KeyServer, clock: Clock
) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token()).status_code == 200
    assert refusal(post(gateway, token(kid="made-up"))) == (401, "UNAUTHENTICATED")
    key_server.response = published(NEW_KEYS)
    clock.seconds += 1

    assert post(gateway, new_token()).status_code == 200


def test_a_key_that_was_published_after_it_was_looked_for_is_unavailable_not_unauthenticated(
    serve: Serve, key_server: KeyServer, clock: Clock
) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token()).status_code == 200
    assert refusal(post(gateway, new_token())) == (401, "UNAUTHENTICATED")
    key_server.response = published(NEW_KEYS)
    clock.seconds += 10

    response = post(gateway, new_token())
    assert refusal(response) == (503, "KEYS_UNAVAILABLE")
    assert response.headers["retry-after"] == "20"
    clock.seconds += 20
    assert post(gateway, new_token()).status_code == 200


def test_unavailable_keys_are_503_until_they_can_be_fetched(
    serve: Serve, closed_key_server: KeyServer, simulator: Simulator, clock: Clock
) -> None:
    gateway = serve(closed_key_server.url)
    down = [post(gateway, token()) for _ in range(3)]
    assert [refusal(each) for each in down] == [(503, "KEYS_UNAVAILABLE")] * 3
    assert {each.headers["retry-after"] for each in down} == {"5"}
    assert all(each.json()["errors"][0]["extensions"]["retryable"] for each in down)
    assert not any("www-authenticate" in each.headers for each in down)
    assert refusal(post(gateway, None)) == (401, "UNAUTHENTICATED")
    assert [gateway.http.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]

    closed_key_server.open()
    closed_key_server.response = published(KEYS, 500)
    clock.seconds += 5
    assert refusal(post(gateway, token())) == (503, "KEYS_UNAVAILABLE")
    closed_key_server.response = published(KEYS)
    clock.seconds += 5

    assert post(gateway, token()).status_code == 200
    assert closed_key_server.asked == 2
    # The first token may have come while the fetch of the start went on, or after it.
    failed = dict.fromkeys(line["reason"] for line in gateway.lines() if line["event"] == "callers.keys_failed")
    assert list(failed) == [
        "no connection: refused",
        "the answer has status 500",
    ]
    assert simulator.calls() == []


def test_keys_fetched_once_outlive_an_outage_of_the_issuer(serve: Serve, key_server: KeyServer, clock: Clock) -> None:
    gateway = serve(key_server.url)
    assert post(gateway, token(exp=IN_TEN_MINUTES + 86_400)).status_code == 200
    key_server.response = published(KEYS, 503)
    for _ in range(10):
        clock.seconds += 2 * 3_600
        assert post(gateway, token(exp=IN_TEN_MINUTES + 86_400)).status_code == 200
    clock.seconds += 5 * 3_600

    assert refusal(post(gateway, token(exp=IN_TEN_MINUTES + 2 * 86_400))) == (503, "KEYS_UNAVAILABLE")


def test_a_key_url_that_does_not_answer_is_a_warning_at_the_start_and_asked_again_for_the_first_token(
    closed_key_server: KeyServer, serve: Serve
) -> None:
    gateway = serve(closed_key_server.url)

    for _ in range(1_000):
        if warned := [line for line in gateway.lines() if line["event"] == "callers.keys_failed"]:
            break
        sleep(0.01)
    closed_key_server.open()

    assert [(line["level"], line["reason"]) for line in warned] == [("warning", "no connection: refused")]
    assert post(gateway, token()).status_code == 200
