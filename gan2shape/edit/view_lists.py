"""Lists of views and lights from CSV or JSON files, for renders in a batch.

A row has any of `name`, `yaw_deg`, `pitch_deg`, `roll_deg`, `light` (left, above, … or "lx,ly"), `lx`, `ly`, `ambient`,
`diffuse`; what is missing or empty stays the input's own. CSV has them in its first line; JSON is a list of objects.
"""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

from gan2shape.core.errors import UserError
from gan2shape.edit.controls import Pose, light_from

COLUMNS = ("name", "yaw_deg", "pitch_deg", "roll_deg", "light", "lx", "ly", "ambient", "diffuse")
MOST_ROWS = 10_000
MAX_BYTES = 10_000_000  # of a file
FILE_NAME = re.compile(r"[\w. +-]{1,100}", re.ASCII)  # what a name may be made of: it becomes a file's


def read_views(path: Path, default: Pose | None = None) -> list[tuple[str, Pose]]:
    """(name, pose) of each row, in order; names count up where none are given. `default` gives what rows leave out.

    Raises UserError for files that are neither, unknown columns, values that are none, and names given twice.
    """
    path, default = Path(path), default or Pose()
    rows = _rows(path)
    if not 0 < len(rows) <= MOST_ROWS:
        raise UserError(f"{path} has {len(rows)} views: give 1 to {MOST_ROWS}.")
    found: list[tuple[str, Pose]] = []
    for i, row in enumerate(rows):
        try:
            found.append((_name(row, i), _pose(row, default)))
        except UserError as error:
            raise UserError(f"View {i + 1} of {path}: {error}") from error
    names = [name for name, _ in found]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise UserError(f"{path} has the name {twice!r} twice: names become files, give each once.")
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows without empty values. Raises UserError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} is too large for a list of views: give at most {MOST_ROWS} of them.")
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix.lower() == ".json" else list(csv.DictReader(io.StringIO(text)))
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise UserError(f"{path} cannot be read as a list of views: give a CSV or JSON file.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} holds no list of views: write [{{'yaw_deg': 20}}, …], or CSV with a first line.")
    for row in rows:
        for key in row:
            if key not in COLUMNS:
                raise UserError(f"{path} has an unknown column, {key!r}: known are {', '.join(COLUMNS)}.")
    return [{key: value for key, value in row.items() if value not in (None, "")} for row in rows]


def _name(row: dict[str, Any], index: int) -> str:
    name = str(row.get("name", f"{index:04d}"))
    if not FILE_NAME.fullmatch(name) or not name.strip(". "):
        raise UserError(f"the name {name!r} cannot be a file's: use letters, digits, spaces and . + - _ only.")
    return name


def _pose(row: dict[str, Any], default: Pose) -> Pose:
    values = {key: _number(key, value) for key, value in row.items() if key not in ("name", "light")}
    direction = default.direction
    if "light" in row:
        if "lx" in values or "ly" in values:
            raise UserError("light and lx, ly exclude each other: give one.")
        direction = light_from(str(row["light"]))
    elif ("lx" in values) != ("ly" in values):
        raise UserError("lx and ly belong together: give both.")
    elif "lx" in values:
        direction = (values["lx"], values["ly"])
    names = ("yaw_deg", "pitch_deg", "roll_deg", "ambient", "diffuse")
    return Pose(direction=direction, **{name: values.get(name, getattr(default, name)) for name in names})


def _number(key: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        return float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key} is no number: {value!r}.") from error
