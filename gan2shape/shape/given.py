"""What a run was given, kept in its folder as it was read: `--resume` needs neither the photo nor the mask again.

Numbers only, in float32: no paths, no EXIF. A first run reads them back, too, so that a resumed one computes with the
same bits in the same order in memory.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.files import UNREADABLE_ARRAYS, write_arrays_atomic

GIVEN_NAME = "given.npz"  # in the folder of a run from an image or a latent
TENSORS = ("image", "mask", "latent")


def keep_given(folder: Path, given: dict[str, Any]) -> None:
    """Image, mask, latent and notes, as far as there are any, in the place of what an earlier run has left."""
    arrays = {name: given[name].detach().cpu().numpy() for name in TENSORS if given.get(name) is not None}
    if not arrays:
        (folder / GIVEN_NAME).unlink(missing_ok=True)
        return
    arrays["notes"] = np.array(json.dumps(list(given.get("notes", ()))))
    write_arrays_atomic(folder / GIVEN_NAME, arrays)


def stored_given(folder: Path) -> dict[str, Any]:
    """What `keep_given` has kept; nothing where there was nothing to keep. Raises UserError for a damaged file."""
    path = folder / GIVEN_NAME
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        given: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in TENSORS if name in arrays}
        return {**given, "notes": tuple(json.loads(str(arrays["notes"])))}
    except (*UNREADABLE_ARRAYS, TypeError) as error:
        raise UserError(f"{path} is damaged: start anew, without --resume.") from error
