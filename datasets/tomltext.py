"""Reads TOML text on every supported Python.

Python 3.11 has a reader of its own; 3.10 has none, and there the flat form that calibration
files have is read: tables of values that each fit on one line.
"""

import importlib
import json
import re
import sys
from typing import Any

from adaptpose.errors import DataError, expected_message


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text; DataError with the place if it is damaged."""
    if sys.version_info < (3, 11):
        return parse_flat_toml(text, where)
    tomllib = importlib.import_module("tomllib")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise DataError(expected_message(where, "a TOML file", str(error))) from error


def parse_flat_toml(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text whose values are one-line strings, numbers, booleans, arrays."""
    tables: dict[str, Any] = {}
    current = tables
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        table = re.fullmatch(r"\[([^\[\]]+)\]", line)
        pair = re.fullmatch(r"([\w.-]+)\s*=\s*(.+)", line)
        if not line or line.startswith("#"):
            continue
        if table:
            current = tables.setdefault(table[1], {})
            continue
        try:
            if pair is None:
                raise ValueError("neither a table nor a pair")
            current[pair[1]] = json.loads(pair[2])
        except ValueError as error:
            thing = f"{where}, line {number}"
            message = expected_message(thing, "a [table] or a key = value in one line", line[:40])
            raise DataError(message) from error
    return tables
