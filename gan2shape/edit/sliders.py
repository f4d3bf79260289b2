"""Latent directions as a JSON file of sliders: people set `value`s in it, and an edit adds up what they say."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.edit.directions import Direction
from gan2shape.edit.latents import added

SLIDERS_FORMAT = "gan2shape-sliders-1"
REACH_SD = 4.0  # of a slider to either side
DIGITS = 6  # of a vector's components


def to_page(directions: list[Direction], category: str, weights: str) -> dict[str, Any]:
    """The file's contents. weights: hash of the generator's file, which alone the vectors fit."""
    sliders = []
    for i, direction in enumerate(directions):
        vector = [round(value, DIGITS) for value in direction.vector.tolist()]
        changes = {name: round(value, 4) for name, value in direction.changes.items()}
        entry = {"name": f"{i} {direction.name}".rstrip(), "value": 0.0, "range": [-REACH_SD, REACH_SD]}
        sliders.append({**entry, **asdict(direction), "name": entry["name"], "changes": changes, "vector": vector})
    note = (
        "value: how far to go, in standard deviations of the latent along the direction. changes: what one of them "
        "does on average, as the pack's networks read it. Use: gan2shape edit RUN --sliders FILE"
    )
    return {"format": SLIDERS_FORMAT, "category": category, "weights": weights, "note": note, "sliders": sliders}


def read_sliders(path: Path, weights: str, settings: tuple[str, ...] = ()) -> list[tuple[str, float, Direction]]:
    """(name, value, direction) of each slider that is not at 0.

    settings: `name=value`, by a slider's whole name or its number, in the place of the file's values. Raises UserError
    for a file that is none of ours or belongs to other weights, and for values out of range.
    """
    try:
        page = json.loads(Path(path).read_text(encoding="utf-8"))
        if page["format"] != SLIDERS_FORMAT:
            raise ValueError("another format")
        found = [(str(one["name"]), float(one["value"]), _direction(one)) for one in page["sliders"]]
        belongs_to = page["weights"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} holds no sliders: make such a file with `gan2shape directions`.") from error
    if belongs_to != weights:
        raise UserError(f"The sliders in {path} belong to another generator: make them with `gan2shape directions`.")
    given = dict(_setting(text) for text in settings)
    known = {key: name for name, _, _ in found for key in (name, name.split()[0])}
    for key in given:
        if key not in known:
            raise UserError(f"There is no slider {key!r}: choose among {', '.join(name for name, _, _ in found)}.")
    named = {known[key]: value for key, value in given.items()}
    found = [(name, named.get(name, value), direction) for name, value, direction in found]
    for name, value, _ in found:
        if not abs(value) <= REACH_SD:
            raise UserError(f"The slider {name!r} goes from {-REACH_SD:g} to {REACH_SD:g}, not to {value:g}.")
    return [one for one in found if one[1] != 0]


def offset_of(
    sliders: list[tuple[str, float, Direction]], n_layers: int, device: torch.device | str
) -> Float[Tensor, "1 *L D"] | None:
    """What the sliders add to a latent; None where all are at 0."""
    offset = None
    for _, value, direction in sliders:
        offset = added(offset, direction.offset(value, n_layers).to(device))
    return offset


def _direction(one: dict) -> Direction:
    vector = torch.tensor([float(value) for value in one["vector"]])
    if not bool(vector.isfinite().all()):
        raise ValueError("not finite")
    return Direction(vector, float(one["sd"]), tuple(int(layer) for layer in one["layers"]))


def _setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise UserError(f"{text!r} sets no slider: write NAME=VALUE, for example 0=1.5.") from error
