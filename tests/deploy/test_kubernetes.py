"""The manifests are valid, fit each other, and fit the server."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from routing_gym.scripts.command import read_config
from routing_gym.serving.auth import Auth
from routing_gym.serving.settings import ServeConfig
from tests.deploy.test_image import DOCKERFILE, ROOT, SETUP, routes

FOLDER = ROOT / "deploy" / "kubernetes"
README = (ROOT / "README.md").read_text("utf-8")
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
APART = ["secret.example.yaml", "bundle-loader.yaml"]  # not part of the kustomization
FILES = [*KUSTOMIZATION["resources"], *APART]


def load(name: str) -> dict[str, Any]:
    (content,) = yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
    return dict(content)


DEPLOYMENT = load("deployment.yaml")
POD = DEPLOYMENT["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
CONFIG = read_config(ServeConfig, ["--config", str(FOLDER / "serve.yaml")])
LOADER = load("bundle-loader.yaml")
MEMORY_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_is_valid(name: str) -> None:
    checker = pytest.importorskip("kubernetes_validate")
    checker.validate(load(name), checker.latest_version(), strict=True)


def test_a_wrong_manifest_is_found() -> None:
    checker = pytest.importorskip("kubernetes_validate")
    wrong = load("deployment.yaml")
    wrong["spec"]["replica"] = 2
    with pytest.raises(checker.ValidationError):
        checker.validate(wrong, checker.latest_version(), strict=True)


def test_the_kustomization_names_every_file() -> None:
    generated = {file for entry in KUSTOMIZATION["configMapGenerator"] for file in entry["files"]}
    present = {path.name for path in FOLDER.iterdir()}
    assert {*FILES, *generated, "kustomization.yaml"} == present
    assert not set(APART) & set(KUSTOMIZATION["resources"])


def test_the_image_is_the_one_that_is_built() -> None:
    image = f"routing-gym:{SETUP['metadata']['version']}"
    assert CONTAINER["image"] == image
    assert f"-t {image}" in DOCKERFILE
    (override,) = KUSTOMIZATION["images"]
    assert f"{override['name']}:{override['newTag']}" == image


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("deployment.yaml", ("spec", "selector", "matchLabels")),
        ("service.yaml", ("spec", "selector")),
        ("disruption.yaml", ("spec", "selector", "matchLabels")),
        ("network.yaml", ("spec", "podSelector", "matchLabels")),
    ],
)
def test_selectors_find_the_pods(name: str, path: tuple[str, ...]) -> None:
    selector: Any = load(name)
    for key in path:
        selector = selector[key]
    assert selector
    assert selector.items() <= POD["metadata"]["labels"].items()


def test_ports_meet() -> None:
    assert PORTS == {"http": CONFIG.port}
    assert [port["targetPort"] for port in load("service.yaml")["spec"]["ports"]] == ["http"]
    let_in = load("network.yaml")["spec"]["ingress"][0]["ports"]
    assert [port["port"] for port in let_in] == ["http"]
    assert CONFIG.host == "0.0.0.0"  # a pod that binds 127.0.0.1 cannot be reached


def test_what_the_server_reaches_is_let_out() -> None:
    out = [
        (peer["podSelector"]["matchLabels"].get("app.kubernetes.io/name"), port["port"])
        for rule in load("network.yaml")["spec"]["egress"]
        for peer in rule["to"]
        for port in rule["ports"]
    ]
    for url in (CONFIG.upstream_url, CONFIG.log_url):
        found = re.search(r"//(?:\w+@)?([\w-]+):(\d+)", url)
        assert found
        assert (found[1], int(found[2])) in out


@pytest.mark.parametrize("kind", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_a_probe_asks_an_address_that_exists(kind: str) -> None:
    asked = CONTAINER[kind]["httpGet"]
    assert asked["path"] in routes()
    assert asked["path"] == ("/healthz" if kind == "livenessProbe" else "/readyz")
    assert asked["port"] in PORTS


def test_the_container_is_bounded_and_has_no_rights() -> None:
    resources = CONTAINER["resources"]
    assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}
    rights = CONTAINER["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert rights["runAsNonRoot"]
    assert not rights["allowPrivilegeEscalation"]
    assert rights["capabilities"] == {"drop": ["ALL"]}
    pod = POD["spec"]["securityContext"]
    assert f"USER {pod['runAsUser']}:{pod['runAsGroup']}" in DOCKERFILE
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not POD["spec"]["automountServiceAccountToken"]


def test_volumes_are_there() -> None:
    volumes = {volume["name"]: volume for volume in POD["spec"]["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    assert volumes.keys() == mounts.keys()
    claim = volumes["bundle"]["persistentVolumeClaim"]["claimName"]
    assert claim == load("volume.yaml")["metadata"]["name"]
    assert mounts["bundle"] == str(CONFIG.bundle)
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    assert volumes["settings"]["configMap"]["name"] == generated["name"]
    option, file = CONTAINER["args"]
    assert option == "--config"
    assert file == f"{mounts['settings']}/{generated['files'][0]}"
    assert "/tmp" in mounts.values()


def test_the_loader_writes_where_the_pods_read() -> None:
    """A block-backed claim holds lost+found at its root, so the bundle lies in a folder of it."""
    (loader,) = LOADER["spec"]["containers"]
    (written,) = loader["volumeMounts"]
    (read,) = [mount for mount in CONTAINER["volumeMounts"] if mount["name"] == "bundle"]
    assert written["subPath"] == read["subPath"]
    assert read["readOnly"]
    assert not written.get("readOnly")
    (volume,) = LOADER["spec"]["volumes"]
    assert volume["name"] == written["name"]
    assert volume["persistentVolumeClaim"] == {"claimName": load("volume.yaml")["metadata"]["name"]}
    assert loader["image"] == CONTAINER["image"]
    assert loader["securityContext"] == CONTAINER["securityContext"]
    # the same user and group, or the server could not read the files
    assert LOADER["spec"]["securityContext"] == POD["spec"]["securityContext"]


def test_the_loader_is_no_router() -> None:
    selected = load("service.yaml")["spec"]["selector"].items()
    assert not selected <= LOADER["metadata"]["labels"].items()
    assert LOADER["spec"]["activeDeadlineSeconds"] > 0


def test_the_loader_is_documented() -> None:
    text = (FOLDER / "bundle-loader.yaml").read_text("utf-8")
    commands = re.findall(r"(?m)^#   (kubectl .*)$", text)
    apply, wait, copy, delete = commands
    assert "\n".join([*commands, "kubectl apply -k deploy/kubernetes"]) in README
    name, folder = copy.split()[-1].split(":")
    assert name == LOADER["metadata"]["name"]
    assert wait.endswith(f"pod/{name}")
    assert folder == LOADER["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    for command in (apply, delete):
        assert all((ROOT / file).is_file() for file in re.findall(r"-f (\S+)", command))


def test_bodies_of_open_requests_fit_into_the_memory() -> None:
    size = re.fullmatch(r"(\d+)([KMG]i)", CONTAINER["resources"]["limits"]["memory"])
    assert size
    memory = int(size[1]) * MEMORY_UNITS[size[2]]
    assert CONFIG.max_requests * CONFIG.max_body_bytes <= memory / 4
    assert CONFIG.max_requests > CONFIG.concurrency + CONFIG.queue_size


def test_secrets_are_named_and_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    example = load("secret.example.yaml")
    taken = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in CONTAINER["env"]}
    assert {ref["name"] for ref in taken.values()} == {example["metadata"]["name"]}
    assert {ref["key"] for ref in taken.values()} == example["stringData"].keys()
    assert CONFIG.keys_env in taken
    monkeypatch.setenv(CONFIG.keys_env, example["stringData"][taken[CONFIG.keys_env]["key"]])
    scopes = {scope for key in Auth.read(variable=CONFIG.keys_env).keys for scope in key.scopes}
    assert scopes == {"chat", "feedback", "metrics"}
    assert "PGPASSWORD" in taken
    assert "password" not in (FOLDER / "serve.yaml").read_text("utf-8")


def test_a_stop_loses_nothing() -> None:
    assert CONFIG.unready_seconds > 0
    patience = POD["spec"]["terminationGracePeriodSeconds"]
    assert patience > CONFIG.unready_seconds + CONFIG.drain_seconds + 5


def test_replicas_share_one_log_and_survive_a_drain() -> None:
    scale = load("autoscaler.yaml")["spec"]
    assert scale["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    assert scale["scaleTargetRef"]["kind"] == DEPLOYMENT["kind"]
    assert DEPLOYMENT["spec"]["replicas"] == scale["minReplicas"] >= 2
    assert load("disruption.yaml")["spec"]["minAvailable"] < scale["minReplicas"]
    assert CONFIG.log_url.startswith("postgresql://")  # a file cannot be shared
    assert scale["metrics"][0]["resource"]["name"] in CONTAINER["resources"]["requests"]


def test_the_manifests_are_documented() -> None:
    assert Path(FOLDER / "kustomization.yaml").read_text("utf-8").startswith("# kubectl apply -k")
