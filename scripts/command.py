"""The frame of every command: configuration, overrides, errors in one sentence, exit codes.

A script holds a flat configuration dataclass, a function that takes it, and three lines::

    from routing_gym.scripts.command import run_command, save_resolved

    def main(argv: Sequence[str] | None = None) -> int:
        return run_command(
            TrainConfig, train, description=__doc__, default_config="configs/train.yaml", argv=argv
        )

    if __name__ == "__main__":
        raise SystemExit(main())

Exit codes: 0 done, 1 the run failed, 2 the configuration is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from routing_gym.queries.whole_file import write_whole

REPOSITORY = Path(__file__).resolve().parents[1]
RUN_FAILED, USAGE_ERROR, INTERRUPTED = 1, 2, 130
OWN_OPTIONS = ("config", "debug", "help")

ConfigT = TypeVar("ConfigT")


def run_command(
    config_class: type[ConfigT],
    function: Callable[[ConfigT], int | None],
    *,
    description: str | None,
    default_config: str | None = None,
    argv: Sequence[str] | None = None,
) -> int:
    """Build the configuration from file and command line, call the function, report errors.

    Values come from, in rising order: the dataclass's defaults, the YAML file, the command line
    (wherever ``--config`` stands on it). ``--help`` shows each field with its text from the
    dataclass's docstring. Mapping fields take YAML or JSON text (``--reward '{"accuracy": 1}'``
    replaces the mapping) and single items (``--reward.accuracy 1`` sets one).

    Parameters
    ----------
    config_class
        Flat dataclass whose docstring describes every field.
    function
        Does the work; its return value is the exit code, None counts as 0.
    description
        What the command does, shown by ``--help``.
    default_config
        YAML file, relative to the repository's root, that is read when ``--config`` is not given;
        None means the dataclass's defaults.
    argv
        Command line without the program's name; None means ``sys.argv[1:]``.

    Returns
    -------
    int
        0 done; 1 the run raised ValueError, OSError or ImportError; 2 wrong configuration;
        130 interrupted. An error is one sentence on stderr; ``--debug`` adds the traceback.
        Other exceptions are defects of ours and pass through.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.getcwd() not in sys.path:  # where "package.module:Class" of outside code is looked for
        sys.path.append(os.getcwd())
    debug = "--debug" in arguments
    try:
        config = read_config(
            config_class, arguments, description=description, default_config=default_config
        )
    except (ValueError, argparse.ArgumentError) as error:
        return _report(error, USAGE_ERROR, debug=debug)
    except SystemExit as request:  # argparse leaves this way after --help
        return int(request.code or 0)
    try:
        return int(function(config) or 0)
    except (ValueError, OSError, ImportError) as error:
        return _report(error, RUN_FAILED, debug=debug)
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return INTERRUPTED


def read_config(
    config_class: type[ConfigT],
    argv: Sequence[str],
    *,
    description: str | None = None,
    default_config: str | None = None,
) -> ConfigT:
    """Turn a command line into a validated configuration; parameters as in `run_command`.

    Raises
    ------
    ValueError
        If the file is missing or no flat mapping, a key is unknown, a value has the wrong type,
        or the configuration's own validation refuses it.
    """
    names = _field_names(config_class)
    file, rest = _split_config(argv, default_config)
    parser = _build_parser(config_class, description)
    if file is not None:
        _check_file(file, names)
        rest = ["--config", str(file), *rest]
    try:
        values = parser.parse_args(rest).as_dict()
    except argparse.ArgumentError as error:
        raise ValueError(_one_sentence(str(error.message), names)) from error
    _refuse_null(config_class, values)
    return config_class(**{name: values[name] for name in names})


def save_resolved(config: Any, folder: str | Path) -> Path:
    """Write the configuration that a run used as ``config.yaml``, which ``--config`` reads again.

    Parameters
    ----------
    config
        The configuration dataclass.
    folder
        The run's folder; made if it does not exist.

    Returns
    -------
    Path
        The written file; it appears whole or not at all.
    """
    target = Path(folder) / "config.yaml"
    values = {name: _plain(value) for name, value in dataclasses.asdict(config).items()}
    write_whole(target, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    return target


def _report(error: Exception, code: int, *, debug: bool) -> int:
    """Print one sentence (and the traceback if asked for) on stderr; hand the exit code back."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"error: {text if text.endswith(('.', '?')) else text + '.'}", file=sys.stderr)
    return code


def _field_names(config_class: type) -> list[str]:
    """Names of the dataclass's fields, none of which may hide an option of the frame."""
    names = [field.name for field in dataclasses.fields(config_class) if field.init]
    taken = sorted(set(names) & set(OWN_OPTIONS))
    if taken:
        raise TypeError(f"{config_class.__name__} may not call fields {taken}: rename them.")
    return names


def _split_config(argv: Sequence[str], default_config: str | None) -> tuple[Path | None, list[str]]:
    """Take ``--config FILE`` out of the command line, so that overrides win wherever they stand."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config")
    known, rest = first.parse_known_args(list(argv))
    if known.config is not None:
        return Path(known.config), rest
    return (None if default_config is None else REPOSITORY / default_config), rest


class _HelpFormatter(DefaultHelpFormatter):
    """Keeps paragraphs, and in those that are indented, which are commands, the lines too."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        paragraphs = text.strip("\n").split("\n\n")
        return "\n\n".join(p if p[:1] == " " else fill(p, width, indent) for p in paragraphs)


def _build_parser(config_class: type, description: str | None) -> ArgumentParser:
    """Build jsonargparse's parser over the dataclass, raising where it would exit."""
    parser = ArgumentParser(
        description=description,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        print_config=None,
    )
    parser.add_argument(
        "--config", metavar="FILE", action="config", help="Flat YAML file with any of the fields."
    )
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    parser.add_class_arguments(config_class)
    return parser


def _check_file(file: Path, names: Sequence[str]) -> None:
    """Refuse a file that is missing, is no mapping, or has keys that are no fields."""
    if not file.is_file():
        raise ValueError(f"configuration file {str(file)!r} does not exist: check --config.")
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"configuration file {str(file)!r} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"configuration file {str(file)!r} must hold 'key: value' lines, "
            f"not {type(content).__name__}."
        )
    for key in content:
        if key not in names:
            raise ValueError(f"{_unknown_key(str(key), names)}; correct it in {str(file)!r}.")


def _refuse_null(config_class: type, values: Mapping[str, Any]) -> None:
    """Refuse null where the type does not admit it, which jsonargparse lets through."""
    for name, hint in get_type_hints(config_class).items():
        if values.get(name, 0) is None and hint is not Any and type(None) not in get_args(hint):
            expected = getattr(hint, "__name__", hint)
            raise ValueError(
                f"wrong value for key {name!r}: Expected a {expected}. Got value: None"
            )


def _unknown_key(key: str, names: Sequence[str]) -> str:
    """Name an unknown key and the nearest known one."""
    nearest = difflib.get_close_matches(key.split(".")[0], names, n=1, cutoff=0.0)
    hint = f"; the nearest known key is {nearest[0]!r}" if nearest else "; no keys are known"
    return f"unknown key {key!r}{hint}"


def _one_sentence(message: str, names: Sequence[str]) -> str:
    """Put a message of jsonargparse into our words where we know its pattern."""
    unknown = re.match(r"unrecognized arguments: (.*)", message, flags=re.DOTALL)
    if unknown:
        first = unknown.group(1).split()[0]
        if not first.startswith("-"):
            return f"unexpected argument {first!r}: write overrides as --field value."
        key = first.lstrip("-").split("=")[0].replace("-", "_")
        return f"{_unknown_key(key, names)}; --help lists them all."
    wrong = re.match(r'Parser key "([^"]+)":\s*(.*)', message, flags=re.DOTALL)
    if wrong:
        detail = re.sub(r"<class '([\w.]+)'>", r"\1", wrong.group(2))
        return f"wrong value for key {wrong.group(1)!r}: {detail}"
    return message


def _plain(value: Any) -> Any:
    """Turn a field's value into what YAML writes: tuples as lists, paths as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
