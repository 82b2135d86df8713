"""The Space is complete, agrees with the package, and runs the same server with real adapters."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytest.importorskip("fastapi")
pytest.importorskip("huggingface_hub")

from routing_gym.adapters.folder import file_names
from routing_gym.adapters.pool_hub import POOL_FILE, write_pool
from routing_gym.adapters.pools import load_pool
from routing_gym.adapters.spec import PoolSpec
from routing_gym.scripts.command import read_config
from routing_gym.scripts.push import main as push
from routing_gym.scripts.space import (
    BUNDLE_FOLDER,
    PACKAGE,
    POOL_FOLDER,
    TEMPLATE,
    package_files,
    push_space,
)
from routing_gym.serving.demo import PATH
from routing_gym.serving.settings import ServeConfig
from tests.deploy.test_image import HADOLINT, ROOT, SETUP, needed, parse, requirements, routes
from tests.hub_stand_in import HubStandIn

STEPS = parse((TEMPLATE / "Dockerfile").read_text("utf-8"))
REQUIRED = requirements((TEMPLATE / "requirements.txt").read_text("utf-8"))
PAGE = (TEMPLATE / "README.md").read_text("utf-8")
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
QUESTION = "Tom looks east. Then Tom turns left. Which way is Tom facing? One word only."
# The server of a Space, where nothing but its requirements is installed.
RUN = """
import json, runpy, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv.pop(1))))
import routing_gym.serving.app
print("package", routing_gym.serving.app.__file__, flush=True)
runpy.run_module("routing_gym.scripts.serve", run_name="__main__")
"""


def steps(kind: str) -> list[str]:
    return [rest for name, rest in STEPS if name == kind]


def settings() -> ServeConfig:
    return read_config(ServeConfig, ["--config", str(TEMPLATE / "serve.yaml")])


@pytest.fixture(scope="module")
def space(real_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spaces") / "space"
    push_space(real_bundle, load_pool("default"), folder)
    return folder


def test_the_front_matter_is_what_the_hub_reads() -> None:
    matter = yaml.safe_load(PAGE.split("---\n")[1])
    assert PAGE.startswith("---\n")
    assert matter["sdk"] == "docker"
    assert matter["app_port"] == settings().port == 7860
    assert matter["base_path"] == f"{PATH}/"
    assert {matter["colorFrom"], matter["colorTo"]} <= COLOURS
    assert 0 < len(matter["short_description"]) <= 60
    assert matter["suggested_hardware"] == "cpu-basic"
    assert matter["license"].upper() == SETUP["metadata"]["license"]
    assert {"title", "emoji", "pinned", "tags"} <= matter.keys()


def test_the_page_names_what_the_server_reads() -> None:
    config = settings()
    assert f"`{config.keys_env}`" in PAGE
    assert re.findall(r"ARG (TORCH_INDEX)=$", (TEMPLATE / "Dockerfile").read_text(), re.M)
    assert "`TORCH_INDEX`" in PAGE
    for folder in (BUNDLE_FOLDER, POOL_FOLDER, PACKAGE):
        assert f"`{folder}/`" in PAGE


def test_hadolint_has_nothing_to_say() -> None:
    if HADOLINT is None:
        pytest.skip("no hadolint")
    done = subprocess.run(
        [HADOLINT, str(TEMPLATE / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_shell_of_every_step_parses() -> None:
    for step in steps("RUN"):
        done = subprocess.run(["bash", "-n", "-c", step], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    (program,) = [
        re.search(r'python -c "(.*)"', step) for step in steps("RUN") if "python -c" in step
    ]
    assert program
    compile(program[1], "warm-up", "exec")


def test_the_dependencies_are_those_of_the_package() -> None:
    named = requirements(SETUP["options"]["install_requires"])
    for extra in ("serve", "llm", "demo"):
        named += requirements(SETUP["options.extras_require"][extra])
    assert set(REQUIRED) <= set(named)
    assert set(requirements(SETUP["options.extras_require"]["serve"])) <= set(REQUIRED)
    pinned = {
        canonicalize_name(Requirement(line).name): line
        for line in requirements((ROOT / "constraints.txt").read_text("utf-8"))
    }
    for requirement in map(Requirement, REQUIRED):
        pin = Requirement(pinned[canonicalize_name(requirement.name)])
        (version,) = [part.version for part in pin.specifier]
        assert requirement.specifier.contains(version), requirement
    (models,) = re.findall(r"^MODELS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    install = " ".join(steps("RUN"))
    assert f"--no-deps {models}" in install
    assert "--constraint constraints.txt" in install
    assert "--requirement requirements.txt" in install


def test_the_user_is_the_hubs_and_owns_what_it_writes() -> None:
    config, (user,) = settings(), steps("USER")
    assert user == "1000:1000"
    assert any("useradd --create-home --uid 1000 user" in step for step in steps("RUN"))
    place = config.log_url.removeprefix("sqlite:///")
    assert any(f"--owner user --group user {Path(place).parent}" in s for s in steps("RUN"))
    variables = " ".join(steps("ENV"))
    assert "ROUTING_GYM_CACHE=/home/user/" in variables
    # what the user makes lies below its home
    after = [name for name, _ in STEPS[STEPS.index(["USER", user]) :]]
    assert "COPY" not in after


def test_the_command_and_the_health_check_are_the_servers() -> None:
    (entry,), (command,), (check,) = steps("ENTRYPOINT"), steps("CMD"), steps("HEALTHCHECK")
    assert json.loads(entry) == ["python", "-m", "routing_gym.scripts.serve"]
    assert json.loads(command) == ["--config", "serve.yaml"]
    ((port, path),) = re.findall(r"http://127\.0\.0\.1:(\d+)(/\w+)'", check)
    assert path in routes()
    assert [port] == steps("EXPOSE") == [str(settings().port)]


def test_the_settings_fit_the_hardware() -> None:
    config = settings()
    assert (config.backend, config.host, config.demo) == ("local", "0.0.0.0", True)
    assert (config.bundle, config.pool) == (Path(BUNDLE_FOLDER), f"{POOL_FOLDER}/{POOL_FILE}")
    assert config.demo_frames == ("https://huggingface.co",)
    assert config.torch_threads == 2
    assert not config.log_text
    assert config.max_requests * config.max_body_bytes <= 1 << 28


def test_what_the_image_copies_is_in_the_folder(space: Path) -> None:
    copied = [path for step in steps("COPY") for path in step.split()[:-1]]
    assert {PACKAGE, BUNDLE_FOLDER, POOL_FOLDER, "serve.yaml"} <= set(copied)
    for path in copied:
        assert (space / path).exists(), path
    assert (space / ".gitattributes").is_file()
    large = [name for name in file_names(space) if (space / name).stat().st_size > 10 << 20]
    patterns = (space / ".gitattributes").read_text()
    assert all(f"*{Path(name).suffix} filter=lfs" in patterns for name in large)


def test_the_package_is_all_of_it_and_nothing_private() -> None:
    files = [str(path) for path in package_files()]
    assert {"setup.cfg", "scripts/serve.py", "serving/app.py", "queries/py.typed"} <= set(files)
    assert any(name.startswith("rewards/weights/") for name in files)
    assert not [name for name in files if "__pycache__" in name or name.endswith(".pyc")]
    assert not [name for name in files if name.startswith(("adapters/weights", "tests", "runs"))]


def test_a_pool_of_other_weights_is_refused(
    real_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = load_pool("default")
    swapped = PoolSpec(spec.base_model, (*spec.adapters[:3], spec.adapters[4], spec.adapters[3]))
    (tmp_path / "pool").mkdir()
    write_pool(swapped, tmp_path / "pool")
    options = ["--kind", "space", "--source", str(real_bundle), "--target", str(tmp_path / "space")]
    assert push([*options, "--pool", str(tmp_path / "pool" / POOL_FILE)]) == 1
    assert "was trained on" in capsys.readouterr().err
    assert not (tmp_path / "space").exists()


def test_a_space_is_pushed_and_pushed_again(
    space: Path, real_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubStandIn() as hub:
        hub.use(monkeypatch)
        push_space(real_bundle, load_pool("default"), "hf://spaces/me/router")
        repository = hub.repositories["spaces/me/router"]
        assert (repository.private, repository.sdk) == (True, "docker")
        assert set(repository.files) == set(file_names(space))
        manifest = json.loads(repository.files["manifest.json"])
        manifest["files"]["old.py"] = "0" * 64
        repository.files["manifest.json"] = json.dumps(manifest).encode()
        repository.files.update({"old.py": b"", "mine.txt": b"mine"})
        push_space(real_bundle, load_pool("default"), "hf://spaces/me/router")
        assert set(repository.files) == {*file_names(space), "mine.txt"}
        assert all(
            content == (space / name).read_bytes()
            for name, content in repository.files.items()
            if name != "mine.txt"
        )


class SpaceProcess:
    """The command of the image, in a Space's folder, without what is not required there."""

    def __init__(self, folder: Path, log: Path, **environment: str) -> None:
        site = log.parent / "site"
        site.mkdir()
        (site / "routing_gym").symlink_to(folder / PACKAGE, target_is_directory=True)
        held = needed([Requirement(line) for line in REQUIRED]) | {"routing-gym"}
        owners = metadata.packages_distributions()
        missing = [
            module
            for module, names in owners.items()
            if not {canonicalize_name(name) for name in names} & held
        ]
        (command,) = steps("CMD")
        own = ["--host", "127.0.0.1", "--port", "0", "--torch_threads", "1"]
        own += ["--log_url", f"sqlite:///{log.parent / 'decisions.db'}"]
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, json.dumps(missing), *json.loads(command), *own],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def url(self) -> str:
        """Wait until the server is ready; return where it is."""
        found = self._waited(lambda: re.search(r"API at (http://\S+)", self.log.read_text()))
        self._waited(lambda: httpx.get(f"{found[1]}/readyz").status_code == 200)
        return str(found[1])

    def _waited(self, look: Callable[[], Any]) -> Any:
        end = time.monotonic() + 240
        while time.monotonic() < end and self.process.poll() is None:
            if found := look():
                return found
            time.sleep(0.2)
        raise AssertionError(self.log.read_text()[-3000:])


@pytest.fixture(scope="module")
def running(space: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpaceProcess]:
    for name in ("gradio", "peft"):  # not imported here, where it would only take time
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"no {name}")
    folder = tmp_path_factory.mktemp("running")
    shutil.copytree(space, folder / "space")
    server = SpaceProcess(folder / "space", folder / "log")
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(timeout=60)


@pytest.mark.slow
def test_the_space_answers_with_its_own_pool_and_shows_the_page(running: SpaceProcess) -> None:
    url = running.url()
    assert f"package {running.log.parent}" in running.log.read_text()
    body = {"model": "router", "messages": [{"role": "user", "content": QUESTION}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-adapter-id"] == "reasoning"
    assert answer.json()["choices"][0]["message"]["content"].strip()
    # as the hub's own proxy asks for the page
    outside = {"x-forwarded-proto": "https", "x-forwarded-host": "me-router.hf.space"}
    page = httpx.get(f"{url}{PATH}/", headers=outside)
    assert page.status_code == 200
    assert '"root":"https://me-router.hf.space/demo"' in page.text
    assert (
        "frame-ancestors 'self' https://huggingface.co" in page.headers["content-security-policy"]
    )
