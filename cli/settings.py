"""How a command's configuration comes together: defaults, then --config, then --set, then flags.

A command has sections, e.g. "lifter" and "pretrain". A key may name its section
("pretrain.epochs") or leave it out where that is not ambiguous ("epochs").
"""

from pathlib import Path
from typing import Any

from adaptpose.cli.options import read_assignments, read_config_file
from adaptpose.config import check_config, config_to_dict, override
from adaptpose.errors import ConfigError, unknown_name_message


def settle(
    sections: dict[str, Any],
    config_file: Path | None = None,
    assignments: list[str] | None = None,
    flags: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The sections' configs with what the user set; ConfigError with all problems at once.

    `flags` are the command's own options by dotted key; None means not given.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    if config_file is not None:
        layers.append((f"--config {config_file}", read_config_file(config_file)))
    layers.append(("--set", read_assignments(assignments)))
    layers.append(("", {key: value for key, value in (flags or {}).items() if value is not None}))
    for origin, values in layers:
        for key, value in values.items():
            section, rest = _locate(key, sections, origin)
            sections = {**sections, section: _assign(sections[section], rest, value, origin)}
    _check_all(sections)
    return sections


def keys_of_others(
    sections: dict[str, Any],
    others: dict[str, Any],
    config_file: Path | None = None,
    assignments: list[str] | None = None,
) -> list[str]:
    """What the user set that belongs to sections of `others` alone, e.g. "--set fit.sections".

    `sections` are those that the command has. A key belongs to a section that it names, whether or
    not that has such a setting.
    """
    given: dict[str, dict[str, Any]] = {"--set": read_assignments(assignments)}
    if config_file is not None:
        given[f"--config {config_file}:"] = read_config_file(config_file)
    own, foreign = _names(sections), _names(others)
    return [
        f"{origin} {key}"
        for origin, keys in given.items()
        for key in keys
        if {key, key.split(".")[0]} & (foreign - own) and key not in own
    ]


def _names(sections: dict[str, Any]) -> set[str]:
    """Sections, parts of them and settings without their section: what a key may begin with."""
    leaves = {leaf for config in sections.values() for leaf in _leaves(config)}
    return {*sections, *leaves, *(leaf.split(".")[0] for leaf in leaves)}


def _assign(config: Any, key: str, value: Any, origin: str) -> Any:
    try:
        return override(config, {key: value})
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}" if origin else str(error)) from error


def _locate(key: str, sections: dict[str, Any], origin: str) -> tuple[str, str]:
    """Section and remaining key of a key with or without its section."""
    known = [(name, leaf) for name, config in sections.items() for leaf in _leaves(config)]
    matches = [(n, leaf) for n, leaf in known if key == f"{n}.{leaf}"]
    matches = matches or [(n, leaf) for n, leaf in known if key == leaf]
    prefix = f"{origin}: " if origin else ""
    if not matches:
        message = unknown_name_message("setting", key, [f"{n}.{leaf}" for n, leaf in known])
        raise ConfigError(prefix + message)
    if len(matches) > 1:
        which = " or ".join(f"{n}.{leaf}" for n, leaf in matches)
        raise ConfigError(f"{prefix}setting '{key}' is ambiguous (fix: {which})")
    return matches[0]


def _leaves(config: Any) -> list[str]:
    def walk(values: dict[str, Any], prefix: str) -> list[str]:
        found = []
        for key, value in values.items():
            inner = isinstance(value, dict)
            found += walk(value, f"{prefix}{key}.") if inner else [prefix + key]
        return found

    return walk(config_to_dict(config), "")


def _check_all(sections: dict[str, Any]) -> None:
    problems = []
    for config in sections.values():
        try:
            check_config(config)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
