"""What an edit leaves in its folder, and how the next edit goes on from it.

edit.json         where the run is, the pose in total, latent edits, what each file shows
edit.npz          the edited latent (`latent`, W+ or w), the latent edits in it (`offset`), view, light and images
before_after.png  input and effects side by side
effect_3d.png, effect_gan.png, animation_3d.gif, …
"""

import json
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_arrays_atomic, write_text_atomic
from gan2shape.core.images import to_uint8, write_png
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import Effect
from gan2shape.export import pictures

EDIT_NAME, ARRAYS_NAME, SHEET_NAME = "edit.json", "edit.npz", "before_after.png"
EDIT_FORMAT = "gan2shape-edit-1"
MODES = ("3d", "gan", "both")
TILE_PX = 192  # width of a picture in the sheet and in animations
EXPLAINED = {
    "effect_3d.png": "the recovered depth and albedo, rendered in the new view and light (effect-3D); it shows what "
    "the input shows, and no latent edit",
    "effect_gan.png": "the input's surface where the new view shows it, and the generator's image of the rest "
    "(effect-GAN): wheels and hair follow, and what the input hides is made up",
    SHEET_NAME: "input, effect-3D and effect-GAN side by side",
    ARRAYS_NAME: "latent: the edited latent, for `gan2shape run --latent`; offset: the latent edits in it; view "
    "(radians), light (ambient, diffuse, lx, ly), images in [-1, 1]",
}
CONVENTIONS = (
    "All angles are against the input's own view: positive yaw brings the image-right side nearer, positive pitch the "
    "top, positive roll rotates clockwise.",
    "direction is (lx, ly) of a light towards (lx, ly, -1) / norm in the canonical frame; lx < 0 is left, ly < 0 "
    "above. null is the input's own.",
)


@dataclass(frozen=True)
class EditRecord:
    """What was done, in total."""

    source: str  # the run's folder, from the edit's
    category: str
    mode: str  # which effects were made
    pose: Pose  # against the input
    latent_edits: tuple[dict, ...] = ()  # {"kind", numbers and names}, in order
    weights: str = ""  # hash of the generator's file


def write_edit(
    folder: Path,
    record: EditRecord,
    image: Float[Tensor, "1 3 S S"],
    effect: Effect,
    offset: Float[Tensor, "1 *L D"] | None,
    view: Float[Tensor, "1 6"],
    light: Float[Tensor, "1 4"],
    notes: tuple[str, ...] = (),
    with_pictures: bool = True,
) -> dict[str, Path]:
    """Pictures (unless there is nothing new to see), arrays and `edit.json`, which comes last: a folder that has it is
    whole. Short name -> path.
    """
    shown = {"input": image, "effect-3D": effect.rendered.image, "effect-GAN": effect.images}
    hidden = {"3d": "effect-GAN", "gan": "effect-3D"}.get(record.mode)
    shown = {name: picture for name, picture in shown.items() if picture is not None and name != hidden}
    files = {"before_after": write_png(folder / SHEET_NAME, sheet(shown))} if with_pictures else {}
    arrays = {"view": view, "light": light}
    for name, picture in list(shown.items())[1:]:
        stem = name.replace("-", "_").lower()
        if with_pictures:
            files[stem] = write_png(folder / f"{stem}.png", to_uint8(picture[0]))
        arrays[f"image_{stem}"] = picture
    arrays |= {} if offset is None else {"offset": offset}
    arrays |= {} if effect.latents is None else {"latent": effect.latents}
    plain = {name: value.detach().float().cpu().numpy() for name, value in arrays.items()}
    files["arrays"] = write_arrays_atomic(folder / ARRAYS_NAME, plain)
    page = {
        "format": EDIT_FORMAT,
        **{spec.name: getattr(record, spec.name) for spec in fields(EditRecord)},
        "pose": asdict(record.pose),
        "files": {path.name: EXPLAINED[path.name] for path in files.values()},
        "conventions": list(CONVENTIONS),
        "notes": list(notes),
    }
    files["edit"] = write_text_atomic(folder / EDIT_NAME, to_json(page, indent=1) + "\n")
    return files


def sheet(shown: dict[str, Float[Tensor, "1 3 S S"]]) -> np.ndarray:
    """Pictures side by side with their names."""
    return pictures.strip(torch.cat([picture.cpu() for picture in shown.values()]), list(shown), TILE_PX)


def read_edit(folder: Path, device: torch.device | str = "cpu") -> tuple[EditRecord, Float[Tensor, "1 *L D"] | None]:
    """(what was done, the latent edits) of an edit's folder. Raises UserError for a damaged one and other versions."""
    try:
        page = json.loads((folder / EDIT_NAME).read_text(encoding="utf-8"))
        if page["format"] != EDIT_FORMAT:
            raise ValueError("another format")
        plain = {spec.name: page[spec.name] for spec in fields(EditRecord)}
        pose = {**plain["pose"], "direction": plain["pose"]["direction"] and tuple(plain["pose"]["direction"])}
        record = EditRecord(**{**plain, "pose": Pose(**pose), "latent_edits": tuple(plain["latent_edits"])})
        with np.load(folder / ARRAYS_NAME, allow_pickle=False) as stored:
            offset = torch.from_numpy(stored["offset"]).to(device) if "offset" in stored.files else None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"The edit in {folder} is damaged or of another version: make it again.") from error
    return record, offset
