"""Settings that outlive one command line: the user's TOML file.

The order is flag, environment ``PPLAVA_*``, this file, built-in default. The command
line parser keeps that order by itself once it is told the file's values as defaults, so
this module only finds and checks the file, and sets a key in it where that is asked for.
Its keys are the long flags that have an environment variable, with underscores
(``max_new_tokens = 64``); it has no list of its own and so cannot fall behind
`pplava_cli.options`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pplava_core.atomic import replacing
from pplava_core.errors import UsageError


def config_path() -> Path:
    """Say where the user's settings file is, whether it exists or not."""
    moved = os.environ.get("PPLAVA_CONFIG")
    if moved:
        return Path(moved).expanduser()
    from platformdirs import user_config_dir

    return Path(user_config_dir("pplava", appauthor=False)) / "config.toml"


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings file; a missing one is empty.

    Raises:
        UsageError: the file cannot be read or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"cannot read settings from {path}: {error}; correct or remove it"
        ) from None


def write_setting(path: Path, key: str, value: str) -> None:
    """Set one key of the settings file and leave every other line as it is.

    Raises:
        UsageError: the file cannot be read or written, or is written so that only a person
            can change this key.
    """
    table = read_config(path)
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    try:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        new, count = re.subn(rf"(?m)^{key}[ \t]*=.*$", lambda _: line, text, count=1)
        new = new if count else f"{line}\n{text}"
        if tomllib.loads(new) != table | {key: value}:
            raise ValueError("its other lines would change their meaning")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(new, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {line} into {path}: {error}; edit it by hand") from None


def settings_of(command: Any) -> dict[str, Any]:
    """Map the names of settings to their parameters, for a command or a whole group of them.

    A setting that has two names is there under both.
    """
    if hasattr(command, "commands"):
        found: dict[str, Any] = {}
        for nested in command.commands.values():
            found |= settings_of(nested)
        return found
    return {
        name: parameter
        for parameter in command.params
        if getattr(parameter, "envvar", None)
        for name in names_of(parameter)
    }


def names_of(parameter: Any) -> list[str]:
    """Return the names of a setting, the one to show first."""
    return [flag.lstrip("-").replace("-", "_") for flag in parameter.opts]


def variables_of(parameter: Any) -> list[str]:
    """Return the environment variables of a setting, the one to show first."""
    return [parameter.envvar] if isinstance(parameter.envvar, str) else list(parameter.envvar)


def defaults_from(group: Any, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Turn the settings into the defaults of every command, by parameter name.

    ``group`` is the parsed command group; a group inside it gives a nested mapping. Lists
    become comma-separated text, as flags take them: ``kernel = [2, 3, 3]`` is
    ``--kernel 2,3,3``.

    Raises:
        UsageError: a key names no setting of any command.
    """
    known = sorted(settings_of(group))
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UsageError(f"unknown setting {key!r} in {path}: {hint}")
    return _defaults(group, {key: _as_flag(value) for key, value in table.items()})


def _defaults(command: Any, table: Mapping[str, Any]) -> dict[str, Any]:
    if hasattr(command, "commands"):
        return {name: _defaults(nested, table) for name, nested in command.commands.items()}
    parameters = settings_of(command)
    return {parameters[key].name: value for key, value in table.items() if key in parameters}


def _as_flag(value: Any) -> Any:
    return ",".join(str(part) for part in value) if isinstance(value, list) else value
