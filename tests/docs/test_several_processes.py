"""The page about several processes, and its examples: what they set, and what their store's user may do."""

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.auth.api_keys import ApiKeyVerifier, read_api_keys
from gateway.auth.caller import Rate
from gateway.settings import Settings, load_settings
from tests.e2e.requirement import need_nginx
from tests.house.pages import ROOT, blocks
from tests.packaging.dockerfile import read_dockerfile
from tests.stores import running_store

COMPOSE, KUBERNETES = ROOT / "examples" / "compose", ROOT / "examples" / "kubernetes"
SECONDS_OF_A_STOP = 35 + 20
NAMES = re.compile(r"redis\.p?call\(\s*['\"](\w+)['\"]")

Manifest = dict[str, Any]


def user_of(text: str) -> str:
    (user,) = (line for line in text.splitlines() if line.startswith("user leyr-gateway "))
    return user


def manifests() -> Iterator[Manifest]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def manifest(kind: str, name: str = "leyr-gateway") -> Manifest:
    (found,) = (each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def compose() -> Any:
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))


def container(kind: str, name: str) -> Any:
    (found,) = manifest(kind, name)["spec"]["template"]["spec"]["containers"]
    return found


def settings_of(
    environment: Mapping[str, str], files: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings of a container, whose files of secrets hold what is given by their names."""
    for name, value in environment.items():
        given = value
        if value.startswith(("/run/secrets/", "/etc/gateway/")):
            path = folder / Path(value).name
            path.write_text(files[path.name], encoding="utf-8")
            given = str(path)
        monkeypatch.setenv(name, given)
    return load_settings()


def assert_a_fleet(settings: Settings, image: Mapping[str, str]) -> None:
    """Whether gateways with these settings share a store and its journal, and are reached from elsewhere."""
    assert settings.store_address is not None
    assert settings.store_address.username == "leyr-gateway"
    assert settings.store_address.password == "change-this-password"
    assert settings.gateway_journal == "shared"
    assert settings.gateway_workers == 2
    assert settings.gateway_trusted_proxies
    assert image["GATEWAY_HOST"] == "0.0.0.0"  # noqa: S104 # a container's own network


def test_the_user_on_the_page_is_the_one_of_the_examples() -> None:
    (block,) = blocks("text", "users.acl")
    users = (COMPOSE / "users.acl").read_text(encoding="utf-8")

    assert block.text.strip() == user_of(users)
    assert manifest("Secret", "leyr-gateway-store")["stringData"]["users.acl"] == users


def test_the_user_may_do_what_scripts_do_and_no_more() -> None:
    """What is beside scripts, a fleet of gateways tries with this user."""
    (block,) = blocks("text", "users.acl")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py")]
    scripted = {name.lower() for text in sources for name in NAMES.findall(text)}
    beside = {"auth", "hello", "select", "subscribe", "eval", "eval_ro", "evalsha", "evalsha_ro"}

    assert set(re.findall(r" \+(\w+)", block.text)) == scripted | beside
    assert "resetkeys resetchannels ~leyr-gateway:* &leyr-gateway:* -@all" in block.text
    assert Settings.model_fields["gateway_shared_prefix"].default == "leyr-gateway:"


def test_the_gateways_of_compose_share_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = read_dockerfile(ROOT / "Dockerfile")["runtime"]
    services = compose()["services"]
    files = {
        "leyr_client_id": "id",
        "leyr_client_secret": "secret",
        "shared_password": "change-this-password",
        "booking_secret": "at least 32 characters, and not these",
        "keys.toml": "",
    }

    assert services["gateway-1"] == services["gateway-2"]
    gateway = services["gateway-1"]
    settings = settings_of(gateway["environment"], files, tmp_path, monkeypatch)
    assert_a_fleet(settings, image.environment())
    assert (ROOT / "requirements" / f"{gateway['build']['args']['LOCK']}.txt").is_file()
    assert (COMPOSE / gateway["build"]["context"]).resolve() == ROOT
    assert set(gateway["secrets"]) == set(compose()["secrets"])
    assert int(gateway["stop_grace_period"].removesuffix("s")) >= SECONDS_OF_A_STOP
    # nginx is in the network whose word about clients is trusted.
    (network,) = compose()["networks"]["default"]["ipam"]["config"]
    assert network["subnet"] == gateway["environment"]["GATEWAY_TRUSTED_PROXIES"]
    assert services["valkey"]["image"].startswith("valkey/valkey:8")
    mounted = [each.split(":")[0] for name in ("nginx", "valkey") for each in services[name]["volumes"]]
    assert all((COMPOSE / each).is_file() for each in mounted if each.startswith("./"))


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    text = (COMPOSE / "nginx.conf").read_text(encoding="utf-8")
    services = compose()["services"]
    for server in re.findall(r"server ([\w-]+):8000;", text):
        assert server in services
        text = text.replace(f"{server}:8000", "127.0.0.1:8000")
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\n{text}", encoding="utf-8")

    command = [
        need_nginx(),
        "-t",
        "-p",
        str(tmp_path),
        "-c",
        str(tmp_path / "nginx.conf"),
        "-e",
        str(tmp_path / "errors"),
    ]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert checked.returncode == 0, checked.stderr


def server_options(words: Sequence[str]) -> list[str]:
    """The options of a server's command, without the paths of its container."""
    assert words[0] == "valkey-server"
    pairs = dict(zip(words[1::2], words[2::2], strict=True))
    assert pairs.pop("--aclfile") == "/etc/valkey/users.acl"
    pairs.pop("--dir", None)
    return [word for pair in pairs.items() for word in pair]


def test_the_servers_start_with_their_options_and_take_their_user() -> None:
    of_compose = server_options(compose()["services"]["valkey"]["command"])
    assert of_compose == server_options(container("StatefulSet", "leyr-gateway-store")["args"])
    with running_store(*of_compose, "--aclfile", str(COMPOSE / "users.acl")) as store:
        assert store.command("PING").startswith(b"-NOAUTH")
        login = store.command("HELLO", "3", "AUTH", "leyr-gateway", "change-this-password")
        assert b"redis" in login or b"valkey" in login


def test_the_pods_share_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = read_dockerfile(ROOT / "Dockerfile")["runtime"]
    pod, gateway = manifest("Deployment")["spec"]["template"]["spec"], container("Deployment", "leyr-gateway")
    secret = manifest("Secret")["stringData"]
    environment = {each["name"]: each["value"] for each in gateway["env"]}

    assert_a_fleet(settings_of(environment, secret, tmp_path, monkeypatch), image.environment())
    assert isinstance(read_api_keys(secret["keys.toml"], Rate(1, 1)), ApiKeyVerifier)
    (mount,), (volume,) = gateway["volumeMounts"], pod["volumes"]
    assert {str(Path(each).parent) for each in environment.values() if each.startswith("/run/")} == {mount["mountPath"]}
    assert (mount["name"], volume["secret"]["secretName"]) == (volume["name"], manifest("Secret")["metadata"]["name"])
    assert pod["terminationGracePeriodSeconds"] >= SECONDS_OF_A_STOP
    assert pod["enableServiceLinks"] is False
    ports = {each["name"]: each["containerPort"] for each in gateway["ports"]}
    assert image.all("EXPOSE") == [str(ports["http"])]
    assert str(ports["metrics"]) == environment["GATEWAY_METRICS_PORT"]
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/livez"), ("startupProbe", "/livez")):
        assert gateway[probe]["httpGet"] == {"path": path, "port": "http"}


def test_what_kubernetes_selects_is_there() -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in (manifest("Deployment"), manifest("StatefulSet", "leyr-gateway-store"))
    }
    for name, label in labels.items():
        kind = "StatefulSet" if name.endswith("store") else "Deployment"
        assert manifest(kind, name)["spec"]["selector"]["matchLabels"] == label
        (port,) = manifest("Service", name)["spec"]["ports"]
        assert manifest("Service", name)["spec"]["selector"] == label
        assert port["targetPort"] in {each["name"] for each in container(kind, name)["ports"]}
    gateway, store = labels["leyr-gateway"], labels["leyr-gateway-store"]
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == gateway
    assert manifest("PodDisruptionBudget")["spec"]["minAvailable"] < manifest("Deployment")["spec"]["replicas"]
    policy = manifest("NetworkPolicy", "leyr-gateway-store")["spec"]
    assert policy["podSelector"]["matchLabels"] == store
    assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": gateway}}]
    (rule,) = manifest("Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "leyr-gateway", "port": {"name": "http"}}
    environment = {each["name"]: each["value"] for each in container("Deployment", "leyr-gateway")["env"]}
    address = f"redis://{manifest('Service', 'leyr-gateway-store')['metadata']['name']}:6379/0"
    assert environment["GATEWAY_SHARED_URL"] == address
    assert all({"apiVersion", "kind", "metadata"} <= each.keys() for each in manifests())
