from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import docstring_parser
import pytest
import yaml

from routing_gym.scripts.command import read_config, run_command, save_resolved

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Settings:
    """Settings of the tests.

    Parameters
    ----------
    table
        Folder of the table.
    steps
        Number of steps.
    learning_rate
        Size of a step.
    mode
        How to step.
    seeds
        One run per seed.
    folder
        Where the run goes.
    limit
        Upper limit, none if null.
    reward
        Weights of the metrics.
    """

    table: str = "results/table"
    steps: int = 10
    learning_rate: float = 3e-3
    mode: Literal["fast", "slow"] = "fast"
    seeds: tuple[int, ...] = (0, 1)
    folder: Path = Path("runs")
    limit: int | None = None
    reward: dict[str, float] = field(default_factory=lambda: {"relevance": 1.0})

    def __post_init__(self) -> None:
        if self.steps <= 0:
            raise ValueError(f"steps={self.steps} must be positive.")


Work = Callable[[Settings], "int | None"]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("steps: 3\nlearning_rate: 1e-4\nreward: {coherence: 2.0}\n")
    return path


def run(argv: list[str], function: Work = lambda config: None) -> int:
    return run_command(Settings, function, description="Steps.", argv=argv)


def assert_one_sentence(capsys: Capture) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith((".\n", "?\n"))
    assert "Traceback" not in captured.err
    return captured.err


def test_nothing_given_means_the_defaults() -> None:
    assert read_config(Settings, []) == Settings()


@pytest.mark.parametrize("config_first", [True, False])
def test_command_line_wins_wherever_config_stands(config_file: Path, config_first: bool) -> None:
    file, override = ["--config", str(config_file)], ["--steps", "5"]
    argv = file + override if config_first else override + file
    config = read_config(Settings, argv)
    assert config.steps == 5
    assert config.learning_rate == 1e-4
    assert config.reward == {"coherence": 2.0}


def test_mapping_item_adds_to_the_file(config_file: Path) -> None:
    config = read_config(Settings, ["--config", str(config_file), "--reward.accuracy", "1"])
    assert config.reward == {"coherence": 2.0, "accuracy": 1.0}


def test_mapping_text_replaces() -> None:
    assert read_config(Settings, ["--reward", '{"accuracy": 1}']).reward == {"accuracy": 1.0}
    assert read_config(Settings, ["--reward", "{accuracy: 2}"]).reward == {"accuracy": 2.0}


def test_types_are_converted() -> None:
    argv = ["--seeds", "[3, 4]", "--folder", "out", "--mode=slow", "--limit", "7", "--table", "3"]
    config = read_config(Settings, argv)
    assert config.seeds == (3, 4)
    assert config.folder == Path("out")
    assert (config.mode, config.limit, config.table) == ("slow", 7, "3")


def test_default_config_is_read_from_the_repository(
    monkeypatch: pytest.MonkeyPatch, config_file: Path
) -> None:
    monkeypatch.setattr("routing_gym.scripts.command.REPOSITORY", config_file.parent)
    assert read_config(Settings, [], default_config="run.yaml").steps == 3
    assert read_config(Settings, ["--steps", "4"], default_config="run.yaml").steps == 4


def test_help_shows_every_field(capsys: Capture) -> None:
    assert run(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in Settings.__dataclass_fields__:
        assert f"--{name}" in text
    for help_text in ("Folder of the table.", "Upper limit, none if null.", "--config FILE"):
        assert help_text in text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--stepz", "3"], ["'stepz'", "'steps'"]),
        (["--rewards.accuracy", "3"], ["'rewards.accuracy'", "'reward'"]),
        (["--zzz=3"], ["'zzz'", "nearest known key"]),
        (["--steps", "many"], ["'steps'", "int", "many"]),
        (["--steps", "1.5"], ["'steps'", "int", "1.5"]),
        (["--reward.accuracy", "high"], ["'reward'", "float", "high"]),
        (["--mode", "medium"], ["'mode'", "medium"]),
        (["--steps"], ["steps", "expected one argument"]),
        (["--steps", "0"], ["steps=0", "positive"]),
        (["--config", "nowhere.yaml"], ["'nowhere.yaml'", "does not exist"]),
        (["--config"], ["expected one argument"]),
        (["extra"], ["'extra'", "--field value"]),
    ],
)
def test_wrong_command_line(capsys: Capture, argv: list[str], words: list[str]) -> None:
    assert run(argv, lambda config: pytest.fail("must not run")) == 2
    message = assert_one_sentence(capsys)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("stepz: 3\n", ["'stepz'", "'steps'", "run.yaml"]),
        ("debug: true\n", ["'debug'", "run.yaml"]),
        ("config: other.yaml\n", ["'config'", "run.yaml"]),
        ("steps: many\n", ["'steps'", "int", "many"]),
        ("steps: null\n", ["'steps'", "int", "None"]),
        ("reward: 3\n", ["'reward'", "3"]),
        ("- 1\n- 2\n", ["key: value", "list"]),
        ("", ["key: value", "NoneType"]),
        ("steps: [\n", ["not valid YAML"]),
    ],
)
def test_wrong_file(capsys: Capture, tmp_path: Path, content: str, words: list[str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    assert run(["--config", str(path)], lambda config: pytest.fail("must not run")) == 2
    message = assert_one_sentence(capsys)
    assert all(word in message for word in words), message


def raise_error(error: Exception) -> Work:
    def function(config: Settings) -> None:
        raise error

    return function


@pytest.mark.parametrize(
    "error", [ValueError("no\ntable"), FileNotFoundError(2, "No such file", "x"), ImportError("m")]
)
def test_error_of_the_run(capsys: Capture, error: Exception) -> None:
    assert run([], raise_error(error)) == 1
    assert_one_sentence(capsys)


def test_debug_adds_the_traceback(capsys: Capture) -> None:
    assert run(["--debug"], raise_error(ValueError("no table"))) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: no table.\n")


def test_defects_pass_through() -> None:
    with pytest.raises(KeyError):
        run([], raise_error(KeyError("x")))


def test_interrupt(capsys: Capture) -> None:
    def function(config: Settings) -> None:
        raise KeyboardInterrupt

    assert run([], function) == 130
    assert_one_sentence(capsys)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_exit_code_is_the_return_value(returned: int | None, code: int) -> None:
    assert run([], lambda config: returned) == code


def test_saved_config_reads_back(tmp_path: Path) -> None:
    config = Settings(steps=4, seeds=(7,), folder=Path("a/b"), reward={"accuracy": 1.0})
    path = save_resolved(config, tmp_path / "new" / "run")
    assert yaml.safe_load(path.read_text())["seeds"] == [7]
    assert read_config(Settings, ["--config", str(path)]) == config
    assert [child.name for child in path.parent.iterdir()] == ["config.yaml"]


def test_a_field_may_not_hide_an_option() -> None:
    @dataclass(frozen=True)
    class Hidden:
        """Hides --debug."""

        debug: bool = False

    with pytest.raises(TypeError, match="debug"):
        read_config(Hidden, [])


SCRIPTS = sorted(
    path.stem
    for path in Path(__file__).resolve().parents[2].joinpath("scripts").glob("*.py")
    if "\ndef main(" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_of_every_script(capsys: Capture, script: str) -> None:
    module = importlib.import_module(f"routing_gym.scripts.{script}")
    assert module.main(["--help"]) == 0
    assert "--config FILE" in capsys.readouterr().out


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_field_of_every_script_has_its_help(script: str) -> None:
    module = importlib.import_module(f"routing_gym.scripts.{script}")
    configs = [
        member
        for member in vars(module).values()
        if dataclasses.is_dataclass(member)
        and isinstance(member, type)
        and member.__module__ == module.__name__
        and member.__name__.endswith(("Config", "Settings"))
    ]
    for config in configs:
        described = {
            name
            for part in config.__mro__
            for entry in docstring_parser.parse(part.__doc__ or "").params
            for name in entry.arg_name.split(", ")
        }
        assert {field.name for field in dataclasses.fields(config)} <= described
