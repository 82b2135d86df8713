"""The house stands: imports go down only, and the lower floors stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("queries", "adapters", "rewards", "envs", "agents", "benchmark", "serving", "scripts")
LIGHT = ("queries", "rewards", "envs", "benchmark", "serving")
HEAVY = ("torch", "transformers", "stable_baselines3", "peft", "trl", "tensorflow")
# the adapters to Stable-Baselines3 itself
HEAVY_MODULES = {"routing_gym.envs.sb3", "routing_gym.envs.scenario_sb3"}


def source_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("routing_gym", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(tree: ast.AST) -> list[tuple[int, str, tuple[str, ...]]]:
    """Line, module and imported names of each import; a relative module keeps its dots."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found.append((node.lineno, module, tuple(alias.name for alias in node.names)))
    return found


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "routing_gym" and len(parts) > 1 else None


def faults(module: str, source: str, *, package: bool = False) -> list[str]:
    """What is wrong with the imports of one module."""
    own, wrong = layer_of(module), []
    for line, target, names in imports(ast.parse(source)):
        if target.startswith("."):
            wrong.append(f"{module}:{line}: relative import; write 'from routing_gym...'")
        elif target.split(".")[0] in LAYERS:
            wrong.append(
                f"{module}:{line}: bare import of {target!r}; write 'routing_gym.{target}'"
            )
        elif target == "routing_gym":
            wrong += [fault for n in names for fault in against(own, n, f"{module}:{line}")]
            if own in names:
                wrong.append(f"{module}:{line}: imports its own __init__")
        elif (layer := layer_of(target)) is not None:
            wrong += against(own, layer, f"{module}:{line}")
            if target == f"routing_gym.{own}" and not package:
                # A submodule is taken past the __init__, any other name out of it.
                taken = [name for name in names or ("itself",) if not is_module(target, name)]
                wrong += [f"{module}:{line}: imports {n} from its own __init__" for n in taken]
    return wrong


def is_module(package: str, name: str) -> bool:
    folder = ROOT / package.removeprefix("routing_gym.")
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def against(own: str | None, layer: str, place: str) -> list[str]:
    """A fault if the layer is none, or above one's own."""
    if layer not in LAYERS:
        return [f"{place}: {layer!r} is no layer of {LAYERS}"]
    if own in LAYERS and LAYERS.index(layer) > LAYERS.index(own):
        return [f"{place}: {own} imports upwards from {layer}"]
    return []


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Names around one cycle, empty if there is none."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        for following in sorted(graph.get(node, ())):
            cycle = visit(following, [*trail, node])
            if cycle:
                return cycle
        done.add(node)
        return []

    return next(filter(None, (visit(node, []) for node in sorted(graph))), [])


def import_graph() -> dict[str, set[str]]:
    """Module -> own modules that it imports, anywhere in its file."""
    files = {module_name(path): path for path in source_files(*LAYERS)}
    graph: dict[str, set[str]] = {}
    for module, path in files.items():
        targets: set[str] = set()
        for _, target, names in imports(ast.parse(path.read_text("utf-8"))):
            submodules = {f"{target}.{name}" for name in names} & files.keys()
            targets |= submodules or ({target} & files.keys())
        graph[module] = targets - {module}
    return graph


def test_the_checks_see_something() -> None:
    assert len(source_files(*LAYERS)) > 20
    assert sum(map(len, import_graph().values())) > 20


@pytest.mark.parametrize("path", source_files(*LAYERS), ids=module_name)
def test_imports_go_down(path: Path) -> None:
    source = path.read_text("utf-8")
    assert faults(module_name(path), source, package=path.name == "__init__.py") == []


@pytest.mark.parametrize("path", source_files("tests"), ids=lambda p: str(p.relative_to(ROOT)))
def test_tests_import_the_package(path: Path) -> None:
    bare = [
        target
        for _, target, _ in imports(ast.parse(path.read_text("utf-8")))
        if target.split(".")[0] in LAYERS
    ]
    assert bare == []


def test_no_import_cycles() -> None:
    assert find_cycle(import_graph()) == []


def test_no_folder_shadows_the_mapping() -> None:
    assert not (ROOT / "routing_gym").exists()


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("routing_gym.envs.table", "from routing_gym.agents.ppo import PPO", "upwards"),
        ("routing_gym.queries.query", "def f():\n    import routing_gym.envs.table", "upwards"),
        ("routing_gym.envs.table", "from routing_gym import benchmark", "upwards"),
        ("routing_gym.envs.table", "import envs", "bare"),
        ("routing_gym.scripts.train", "from envs.table import OutcomeTable", "bare"),
        ("routing_gym.envs.table", "from . import data", "relative"),
        ("routing_gym.envs.table", "from .data import RoutingData", "relative"),
        ("routing_gym.envs.table", "from routing_gym.envs import RoutingEnv", "own __init__"),
        ("routing_gym.envs.table", "import routing_gym.envs", "own __init__"),
        ("routing_gym.envs.table", "from routing_gym import envs", "own __init__"),
        ("routing_gym.envs.table", "from routing_gym.utils import x", "no layer"),
    ],
)
def test_planted_faults_are_found(module: str, source: str, fault: str) -> None:
    assert [fault in found for found in faults(module, source)] == [True]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("routing_gym.envs.table", "from routing_gym.envs.data import RoutingData"),
        ("routing_gym.envs.table", "from routing_gym.rewards import METRICS"),
        ("routing_gym.rewards.reward", "from routing_gym.rewards import metric"),
        ("routing_gym.scripts.train", "from routing_gym.agents import AGENTS\nimport numpy"),
    ],
)
def test_right_imports_pass(module: str, source: str) -> None:
    assert faults(module, source) == []


def test_planted_cycle_is_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("layer", LIGHT)
def test_light_layers_load_nothing_heavy(layer: str) -> None:
    modules = {module_name(path) for path in source_files(layer)} | {f"routing_gym.{layer}"}
    program = (
        "import importlib, sys\n"
        f"for name in {sorted(modules - HEAVY_MODULES)!r}:\n"
        "    importlib.import_module(name)\n"
        f"    loaded = [heavy for heavy in {HEAVY!r} if heavy in sys.modules]\n"
        "    if loaded:\n"
        "        sys.exit(f'{name} imports {loaded}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
