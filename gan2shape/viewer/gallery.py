"""The runs of a folder: which can be opened, under which name, and a sheet of their inputs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gan2shape.core.errors import UserError
from gan2shape.core.images import SheetLayout, contact_sheet
from gan2shape.core.many import INPUT_NAME, is_finished
from gan2shape.edit.record import EDIT_NAME

THUMB_PX, N_COLUMNS, MOST_SHOWN = 72, 4, 60


@dataclass(frozen=True)
class Gallery:
    """Folders of runs by name, in order."""

    runs: dict[str, Path]


def gallery_of(path: Path) -> Gallery:
    """The run at `path`, or the runs in it and one folder further down. Links that lead out of it are passed over.

    Raises UserError where there is no run.
    """
    path = Path(path)
    if is_finished(path):
        return Gallery({path.resolve().name: path})
    home = path.resolve()
    found = sorted(one for pattern in ("*", "*/*") for one in path.glob(pattern) if one.is_dir() and is_finished(one))
    inside = [one for one in found if one.resolve().is_relative_to(home)]
    if not inside and (path / EDIT_NAME).is_file():
        raise UserError(f"{path} is an edit: the viewer shows runs; name the run that it began with.")
    if not inside:
        raise UserError(f"{path} holds no finished run: name a run's folder, or the folder of several.")
    return Gallery({one.relative_to(path).as_posix(): one for one in inside})


def thumbnails(gallery: Gallery) -> np.ndarray:
    """The runs' inputs in rows with their numbers, uint8 [H, W, 3]; grey where a picture is not there."""
    from PIL import Image

    tiles = []
    for folder in list(gallery.runs.values())[:MOST_SHOWN]:
        try:
            with Image.open(folder / INPUT_NAME) as opened:
                tiles.append(np.asarray(opened.convert("RGB").resize((THUMB_PX, THUMB_PX))))
        except OSError:
            tiles.append(np.full((THUMB_PX, THUMB_PX, 3), 128, np.uint8))
    return contact_sheet(
        tiles, [str(i + 1) for i in range(len(tiles))], N_COLUMNS, SheetLayout(label_px=14, font_px=10)
    )
