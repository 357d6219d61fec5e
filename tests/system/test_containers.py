"""The container files: they parse, and everything that they name exists here."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from vcfrag_indexd.config.config import ServeConfig
from vcfrag_indexd.config.sources import load_config
from vcfrag_indexd.serving.health import LIVE
from vcfrag_proto.channel import split_address

DOCKERFILES = ("indexd.Dockerfile", "train.Dockerfile")


@pytest.fixture(scope="module")
def docker(repository: Path) -> Path:
    return repository / "docker"


@pytest.fixture(scope="module")
def objects(docker: Path) -> dict[str, dict[str, Any]]:
    """The Kubernetes objects by kind."""
    return {each["kind"]: each for each in yaml.safe_load_all((docker / "kubernetes" / "indexd.yaml").read_text())}


@pytest.fixture(scope="module")
def container(objects: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    return found


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    """Every instruction of a Dockerfile and its text, continuation lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()


@pytest.fixture(scope="module")
def settings(docker: Path) -> ServeConfig:
    """What the image is told, as the daemon itself reads it; unknown keys fail."""
    return load_config(docker / "indexd.toml", environment={})


@pytest.fixture(scope="module")
def cluster_settings(objects: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> ServeConfig:
    """The same of the ConfigMap."""
    path = tmp_path_factory.mktemp("cluster") / "indexd.toml"
    path.write_text(objects["ConfigMap"]["data"]["indexd.toml"])
    return load_config(path, environment={})


def ports(config: ServeConfig) -> dict[str, int]:
    assert config.health_listen is not None
    assert config.metrics_listen is not None
    addresses = {"grpc": config.listen, "health": config.health_listen, "metrics": config.metrics_listen}
    return {name: split_address(address)[1] for name, address in addresses.items()}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile__copies_what_exists_and_is_not_ignored(repository: Path, docker: Path, name: str) -> None:
    allowed = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions(docker / name):
        if word == "COPY":
            *sources, _ = [each for each in shlex.split(rest) if not each.startswith("--")]
            for source in sources:
                assert (repository / source).exists(), source
                assert source in allowed, source


@pytest.mark.parametrize("name", DOCKERFILES)
def test_dockerfile__ends_as_an_unprivileged_user(docker: Path, name: str) -> None:
    stages: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(docker / name):
        if word == "FROM":
            stages[rest.partition(" AS ")[2] or "last"] = []
        elif stages:
            list(stages.values())[-1].append((word, rest))
    final = [stage for stage in stages if stage in ("cpu", "gpu", "last")]
    assert final
    for stage in final:
        assert ("USER", "vcfrag") in stages[stage], stage


def test_indexd_dockerfile__has_both_engines_and_a_health_check(docker: Path) -> None:
    text = (docker / "indexd.Dockerfile").read_text()
    extras = tomllib.loads((docker.parent / "vcfrag_indexd" / "pyproject.toml").read_text())["project"]
    for engine in ("cpu", "gpu"):
        assert f"FROM base AS {engine}" in text
        assert f"[{engine}]" in text
        assert engine in extras["optional-dependencies"]
    check = next(rest for word, rest in instructions(docker / "indexd.Dockerfile") if word == "HEALTHCHECK")
    assert '"vcfrag-indexd", "health", "--address", "127.0.0.1:50511"' in check
    assert "vcfrag-indexd" in extras["scripts"]


def test_indexd_settings__agree_with_the_ports(docker: Path, settings: ServeConfig) -> None:
    exposed = next(rest for word, rest in instructions(docker / "indexd.Dockerfile") if word == "EXPOSE")
    assert sorted(ports(settings).values()) == sorted(int(port) for port in exposed.split())


def test_compose__builds_what_is_here(docker: Path) -> None:
    compose = yaml.safe_load((docker / "compose.yaml").read_text())
    for service in compose["services"].values():
        context = (docker / service["build"]["context"]).resolve()
        dockerfile = context / service["build"]["dockerfile"]
        assert dockerfile.is_file()
        target = service["build"].get("target")
        assert target is None or f" AS {target}\n" in dockerfile.read_text()
    mounted = [volume.split(":")[0] for volume in compose["services"]["indexd"]["volumes"]]
    assert "./indexd.toml" in mounted
    assert (docker / "indexd.toml").is_file()
    assert compose["services"]["train"]["depends_on"] == {"indexd": {"condition": "service_healthy"}}


def test_compose__waits_longer_than_the_drain(docker: Path, settings: ServeConfig) -> None:
    drain = settings.drain
    grace = yaml.safe_load((docker / "compose.yaml").read_text())["services"]["indexd"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > drain.settle_seconds + drain.limit_seconds


def test_kubernetes__settings_are_the_daemons(
    objects: dict[str, dict[str, Any]], container: dict[str, Any], cluster_settings: ServeConfig
) -> None:
    config = cluster_settings
    named = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert named == ports(config)
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > config.drain.settle_seconds + config.drain.limit_seconds
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [*config.panels.values(), config.security.token_file, config.security.admin_token_file, config.cache_dir]
    for file in files:
        assert any(str(file).startswith(mount) for mount in mounts), file


def test_kubernetes__probes_ask_grpc_health(container: dict[str, Any], cluster_settings: ServeConfig) -> None:
    health = ports(cluster_settings)["health"]
    assert container["startupProbe"]["grpc"]["port"] == health
    assert container["readinessProbe"]["grpc"]["port"] == health
    assert container["livenessProbe"]["grpc"] == {"port": health, "service": LIVE}


def test_kubernetes__the_network_policy_admits_clients_and_prometheus_only(
    objects: dict[str, dict[str, Any]], container: dict[str, Any]
) -> None:
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == objects["Deployment"]["spec"]["selector"]["matchLabels"]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])
    admitted = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert admitted == ["grpc", "metrics"]
    assert set(admitted) <= {port["name"] for port in container["ports"]}
    assert all(rule["from"] for rule in policy["ingress"])


def test_kubernetes__selectors_and_volumes_fit(objects: dict[str, dict[str, Any]], container: dict[str, Any]) -> None:
    template = objects["Deployment"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    volumes = {volume["name"] for volume in template["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert template["spec"]["enableServiceLinks"] is False


def test_kubernetes__gpu_patch_names_the_container(docker: Path, container: dict[str, Any]) -> None:
    patch = yaml.safe_load((docker / "kubernetes" / "gpu.yaml").read_text())
    (patched,) = patch["spec"]["template"]["spec"]["containers"]
    assert patched["name"] == container["name"]
    assert patched["image"] != container["image"]
