"""What must hold for the image, read from the Dockerfile."""

import re
import tomllib

import pytest

from tests.e2e.requirement import need, need_node
from tests.packaging.conftest import ROOT, Image
from tests.packaging.dockerfile import Copy, Stage, read_dockerfile

STAGES = read_dockerfile(ROOT / "Dockerfile")
RUNTIME = STAGES["runtime"]
EXPLORER = ROOT / "gateway" / "explorer"

every_stage = pytest.mark.parametrize("stage", STAGES.values(), ids=list(STAGES))


def test_the_stages_are_those_that_are_needed() -> None:
    assert list(STAGES) == ["explorer", "wheel", "runtime"]
    assert STAGES["explorer"].base == "node:${NODE_VERSION}-slim"
    assert STAGES["wheel"].base == RUNTIME.base == "python:${PYTHON_VERSION}-slim"


def test_the_runtime_has_no_rights_and_needs_no_shell() -> None:
    (user,) = RUNTIME.all("USER")
    instructions = [keyword for keyword, _ in RUNTIME.instructions]

    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert "RUN" not in instructions
    assert instructions.index("USER") < instructions.index("ENTRYPOINT")
    assert RUNTIME.exec_form("ENTRYPOINT") == ["/opt/gateway/bin/gateway"]
    assert RUNTIME.exec_form("CMD") == ["serve"]
    assert RUNTIME.environment()["GATEWAY_HOST"] == "0.0.0.0"  # noqa: S104 # a container's own network
    assert RUNTIME.exec_form("HEALTHCHECK") == ["/opt/gateway/bin/gateway", "healthcheck"]
    assert RUNTIME.all("EXPOSE") == ["8000"]


def test_the_runtime_gets_the_environment_alone() -> None:
    assert [Copy.of(value) for value in RUNTIME.all("COPY")] == [Copy("wheel", ("/opt/gateway",), "/opt/gateway")]


def test_the_labels_say_what_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', " ".join(RUNTIME.all("LABEL"))))

    assert f"VERSION={project['version']}" in RUNTIME.all("ARG")
    assert project["description"].startswith(labels.pop("description"))
    assert labels == {
        "title": project["name"],
        "licenses": project["license"],
        "authors": project["authors"][0]["name"],
        "version": "${VERSION}",
        "revision": "${REVISION}",
    }


@every_stage
def test_what_is_copied_exists_and_is_not_ignored(stage: Stage) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [source for value in stage.all("COPY") for source in Copy.of(value).sources if not Copy.of(value).stage]

    assert "*" in lines
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source.split('/')[0]}" in lines, source


@every_stage
def test_packages_come_by_hash_alone(stage: Stage) -> None:
    for command in stage.all("RUN"):
        assert "npm install" not in command
        if "pip" in command.split() and "install" in command.split():
            assert "--require-hashes" in command or "--no-index" in command


@every_stage
def test_no_secret_goes_in(stage: Stage) -> None:
    names = [value for keyword in ("ARG", "ENV") for value in stage.all(keyword)]

    assert not re.search(r"SECRET|TOKEN|PASSWORD|LEYR_", " ".join(names))


def test_the_explorer_stage_builds_what_is_served(image: Image) -> None:
    need_node()
    need("node", there=(EXPLORER / "node_modules").is_dir(), how="run `make explorer`")
    modules = image.root("explorer") / "build" / "gateway" / "explorer" / "node_modules"
    modules.parent.mkdir(parents=True)
    modules.symlink_to(EXPLORER / "node_modules")

    image.build("explorer")

    made = image.root("explorer") / "build" / "gateway" / "http" / "static"
    page = (made / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'"/graphql/(assets/[^"]+)"', page)
    assert links
    assert all((made / link).is_file() for link in links)
