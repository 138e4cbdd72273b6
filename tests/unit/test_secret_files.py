"""Credentials in files, as orchestrators mount them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.settings import Settings, SettingsError

SECRET = "s3cret-of-the-test"
Load = Callable[..., Settings]


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_secrets_may_stand_in_files(load: Load, tmp_path: Path, end: str) -> None:
    (tmp_path / "id").write_bytes(f"id{end}".encode())
    (tmp_path / "secret").write_bytes(f"{SECRET}{end}".encode())

    # Kubernetes mounts a secret as a link to a link.
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    settings = load(LEYR_CLIENT_ID_FILE=str(tmp_path / "id"), leyr_client_secret_file=str(tmp_path / "link"))

    assert settings.credentials() == ("id", SecretStr(SECRET))


def test_a_proxy_with_its_password_may_stand_in_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "proxy").write_bytes(f"http://user:{SECRET}@proxy.example\n".encode())

    proxy = load(HTTPS_PROXY_FILE=str(tmp_path / "proxy")).proxy_for("https://leyr.example")

    assert proxy is not None
    assert proxy.login == ("user", SECRET)


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (b"\n", "it is empty"),
        (b"\xff", "it is not text in UTF-8"),
        (4_097 * b"x", "it is larger than 4096 bytes"),
        (None, "No such file or directory"),
    ],
)
def test_a_secret_file_without_a_secret_is_refused(load: Load, tmp_path: Path, held: bytes | None, said: str) -> None:
    if held is not None:
        (tmp_path / SECRET).write_bytes(held)

    with pytest.raises(SettingsError) as refusal:
        load(LEYR_CLIENT_SECRET_FILE=str(tmp_path / SECRET))

    assert str(refusal.value) == f"LEYR_CLIENT_SECRET_FILE: the file cannot be read: {said}"
    assert refusal.value.__suppress_context__


def test_a_secret_that_is_set_twice_is_refused(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"^LEYR_CLIENT_SECRET and LEYR_CLIENT_SECRET_FILE are both set"):
        load(LEYR_CLIENT_SECRET=SECRET, LEYR_CLIENT_SECRET_FILE="/nowhere")


def test_other_settings_have_no_files(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"^GATEWAY_PORT_FILE is not a setting"):
        load(GATEWAY_PORT_FILE="/nowhere")
