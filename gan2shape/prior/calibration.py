"""What describes one set of weights and is no weight: `calibration.json` beside `prior.safetensors`.

The scale of the depth network's shapes, their tilt, the yaws of multi-view fusion, how fine the form is that relit
pictures tell, the high-pass filter of a stage, the lights of the training images, how they frame their object, and the
limits of what the prior knows (shape/verdict.py). For each value the file states whether true depth was used to choose
it. A value that is missing, or a pack without this file, leaves the typed default of the configuration; without limits
there is no verdict, without a frame photos are cut as they are.

    {"format": "gan2shape-calibration-1",
     "depth_scale": {"value": 1.1, "chosen_with_true_depth": true}, …}

`Calibration.settings` gives the values by key of the configuration. They come after the category and before the preset:
`--preset paper` is the paper, and the user's overrides come last.
"""

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gan2shape.core.config import Finite, need
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_text_atomic
from gan2shape.core.records import UsualFrame

CALIBRATION_NAME = "calibration.json"
CALIBRATION_FORMAT = "gan2shape-calibration-1"
MAX_BYTES = 100_000  # of the file; more is none of ours
GREATEST_SCALE = 100.0  # of the depth; more is a mistake
GREATEST_NUMBER = 1e6  # of any value

KEYS = {  # value of the calibration -> key of `ShapeConfig`
    "depth_scale": "initial.network_depth_scale",
    "tilt": "initial.network_tilt",
    "fusion_yaws_deg": "initial.fusion_yaws_deg",
    "relit_cutoff": "initial.relit_cutoff",
    "highpass_cutoff": "initial.highpass_cutoff",
    "highpass_share": "initial.highpass_share",
    "light_lx": "lights.lx",
    "light_ly": "lights.ly",
    "light_gain": "lights.gain",
    "light_alpha": "lights.alpha",
    "light_mean": "lights.mean",
}
Value = float | tuple[float, ...]
LIMIT, FRAME = "limit_", "frame_"  # begin the names of the values that are no settings


@dataclass(frozen=True)
class Calibration(Finite):
    """Values of one set of weights; None where nothing was chosen."""

    depth_scale: float | None = None  # factor on the depth network's depth range, which images do not fix
    tilt: tuple[float, float] | None = None  # slopes of depth per radian of estimated pitch and yaw
    fusion_yaws_deg: tuple[float, ...] | None = None  # yaws of multi-view fusion; () measures the input alone
    relit_cutoff: float | None = None  # part of the width below which form is that of relit pictures
    highpass_cutoff: float | None = None  # of what a stage adds to the start, as a part of the resolution
    highpass_share: float | None = None  # of the rest, which part is kept
    light_lx: tuple[float, float] | None = None  # lights of the training images: see `LightPriorConfig`
    light_ly: tuple[float, float] | None = None
    light_gain: tuple[float, float] | None = None
    light_alpha: float | None = None
    light_mean: tuple[float, float, float, float] | None = None
    # Of figures that tell what the prior knows (shape/verdict.py): where its edge begins, and where it ends.
    limit_guess_psnr_db: tuple[float, float] | None = None
    limit_feature_distance: tuple[float, float] | None = None
    limit_round_trip: tuple[float, float] | None = None
    limit_mask_iou: tuple[float, float] | None = None
    frame_size: tuple[float, float, float] | None = None  # see `core.records.UsualFrame`
    frame_centre: tuple[float, float] | None = None
    frame_shift: float | None = None
    frame_background: tuple[float, float, float] | None = None
    frame_background_spread: float | None = None
    chosen_with_true_depth: tuple[str, ...] = ()  # names of the values above that were

    def check(self) -> None:
        if self.depth_scale is not None:
            need(0 < self.depth_scale <= GREATEST_SCALE, f"depth_scale={self.depth_scale} is no factor")
        for name in ("relit_cutoff", "highpass_cutoff", "highpass_share"):
            value = getattr(self, name)
            need(value is None or 0 <= value <= 1, f"{name}={value} has to lie between 0 and 1")
        for name in ("light_lx", "light_ly", "light_gain"):
            value = getattr(self, name)
            need(value is None or value[0] <= value[1], f"{name}={value} is no interval")
        for name in self.chosen_with_true_depth:
            need(name in self.values, f"{name} was chosen with true depth and has no value")

    @property
    def values(self) -> dict[str, Value]:
        """What is set, by name."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name) is not None}

    @property
    def settings(self) -> dict[str, Value]:
        """The values by dotted key of `ShapeConfig`."""
        return {KEYS[name]: value for name, value in self.values.items() if name in KEYS}

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """(where the edge begins, where it ends) of each figure that has limits."""
        return {name.removeprefix(LIMIT): value for name, value in self.values.items() if name.startswith(LIMIT)}

    @property
    def frame(self) -> UsualFrame | None:
        """How the prior's images show their object; None where that was not measured."""
        found = {name.removeprefix(FRAME): value for name, value in self.values.items() if name.startswith(FRAME)}
        return UsualFrame(**found) if len(found) == len(fields(UsualFrame)) else None

    def to_page(self) -> dict[str, Any]:
        """The file's contents."""
        page = {
            name: {"value": _plain(value), "chosen_with_true_depth": name in self.chosen_with_true_depth}
            for name, value in self.values.items()
        }
        return {"format": CALIBRATION_FORMAT, **page}


def from_page(page: Any) -> Calibration:
    """The inverse of `to_page`. Raises ValueError, with what is wrong, for anything else."""
    need(isinstance(page, Mapping), "it is no JSON object")
    need(page.get("format") == CALIBRATION_FORMAT, f"its format is not {CALIBRATION_FORMAT}")
    values, chosen = {}, []
    for name, entry in page.items():
        if name == "format":
            continue
        need(name in NAMES, f"it has an unknown key, {name}")
        is_entry = isinstance(entry, Mapping) and set(entry) == {"value", "chosen_with_true_depth"}
        need(is_entry, f"{name} needs a value and chosen_with_true_depth, and nothing else")
        need(isinstance(entry["chosen_with_true_depth"], bool), f"{name}.chosen_with_true_depth is not true or false")
        values[name] = _typed(name, entry["value"])
        chosen += [name] if entry["chosen_with_true_depth"] else []
    return Calibration(**values, chosen_with_true_depth=tuple(chosen))


def read_calibration(folder: str | Path) -> Calibration:
    """The calibration in a pack's folder, or one that sets nothing. Raises UserError for a damaged file."""
    path = Path(folder) / CALIBRATION_NAME
    try:
        data = path.read_bytes() if path.exists() else None
        need(data is None or len(data) <= MAX_BYTES, "it is too large")
        return Calibration() if data is None else from_page(json.loads(data.decode("utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        cause = "it is no JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
        raise UserError(
            f"The calibration {path} is damaged ({cause}): restore it, or make it anew with `gan2shape build`."
        ) from error


def write_calibration(folder: str | Path, calibration: Calibration) -> Path:
    """Write the file, whole or not at all; returns its path."""
    page = calibration.to_page()
    lines = [f" {json.dumps(name)}: {json.dumps(entry)}" for name, entry in page.items()]  # one value, one line
    return write_text_atomic(Path(folder) / CALIBRATION_NAME, "{\n" + ",\n".join(lines) + "\n}\n")


def _typed(name: str, value: Any) -> Value:
    """`value` as the dataclass has it. Raises ValueError."""
    hint = next(arg for arg in typing.get_args(_HINTS[name]) if arg is not types.NoneType)
    if hint is float:
        return _number(name, value)
    need(isinstance(value, list), f"{name} is no list of numbers")
    members = typing.get_args(hint)
    need(members[-1] is ... or len(value) == len(members), f"{name} needs {len(members)} numbers")
    return tuple(_number(name, one) for one in value)


def _number(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < GREATEST_NUMBER
    need(is_number, f"{name} holds something that is no number of a usual size")
    return float(value)


def _plain(value: Value) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


_HINTS = {spec.name: typing.get_type_hints(Calibration)[spec.name] for spec in fields(Calibration)}
NAMES = (*KEYS, *(name for name in _HINTS if name.startswith((LIMIT, FRAME))))  # of all values, in the file's order
