"""What a run explains: read from the files that its request names, or from its own folder where it is resumed."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gan2shape.checkpoints.latents import read_latent
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.images import resized
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.requests import RunRequest
from gan2shape.export.inputs import read_mask
from gan2shape.export.photo import Photo, read_photo, stored_photo
from gan2shape.prior.masked_generator import MaskedGenerator, require_mask
from gan2shape.shape.given import GIVEN_NAME, stored_given
from gan2shape.shape.photos import read_framed


@dataclass(frozen=True)
class Given:
    """What a run explains, and what is to be kept of it."""

    inputs: dict[str, Any]  # of `api.reconstruct`: image and mask, or latent; and notes
    photo: Photo | None = None  # the image at its own resolution
    pictures: dict[str, np.ndarray] = field(default_factory=dict)  # of a damaged one, to be written, by file name
    seconds: dict[str, float] = field(default_factory=dict)
    is_read: bool = True  # from files that the request names, and not from the run's folder


def read_given(
    request: RunRequest, config: ShapeConfig, generator: MaskedGenerator, report: Reporter = silent
) -> Given:
    """The input of a run. One that is resumed has it in its folder: the files may have gone.

    Raises UserError for what cannot be read or restored.
    """
    folder = request.resume
    named = [path for path in (request.image, request.latent, request.mask) if path is not None]
    if folder is not None and ((folder / GIVEN_NAME).is_file() or not named):
        inputs = stored_given(folder)
        for note in inputs.get("notes", ()):
            say(note)
        return Given(inputs, stored_photo(folder), is_read=False)
    if folder is not None and not all(path.is_absolute() for path in named):  # they are, in runs of earlier versions
        raise UserError(f"{folder / GIVEN_NAME} is missing, and the input with it: put it back, or start anew.")
    pictures, seconds = {}, {}
    if request.degraded is None:
        inputs = read_inputs(request, config, generator)
    else:
        inputs, pictures, seconds = restored_inputs(request, config, generator, report)
    framing, photo = inputs.pop("framing", None), None
    if framing is not None:
        photo = read_photo(request.image, framing, config.render.resolution, request.mask)
    return Given(inputs, photo, pictures, seconds)


def read_inputs(
    request: RunRequest, config: ShapeConfig, generator: MaskedGenerator, find_object: bool = True
) -> dict:
    """The image or the latent that a request names, with its mask, framing and notes. Raises UserError for what cannot
    be read.

    find_object: look for the object in a picture without a mask that the prior does not know.
    """
    if request.image is None:
        given = {}
        if request.latent is not None:
            known = generator.prior.generator
            given["latent"] = read_latent(request.latent, known.n_layers, known.config.w_dim)
        if request.mask is not None:
            given["mask"] = read_mask(request.mask, config.render.resolution)
        return given
    size, masks = config.render.resolution, (request.mask, request.auto_mask)
    picture = read_framed(request.image, size, generator, *masks, find_object)
    for note in picture.notes:
        say(note)
    return {"image": picture.image, "mask": picture.mask, "framing": picture.framing, "notes": picture.notes}


def restored_inputs(
    request: RunRequest, config: ShapeConfig, generator: MaskedGenerator, report: Reporter = silent
) -> tuple[dict, dict, dict[str, float]]:
    """(image, mask and notes, pictures to write by file name, seconds) of a damaged image, which is restored. Raises
    UserError for what cannot be read or restored.
    """
    from gan2shape.restoration.damaged_input import damage_of, mask_beside, restore_input

    damage, prior = damage_of(request.degraded, request.hole), generator.prior
    mask = mask_beside(request.image, request.mask, prior)
    if mask is None:
        require_mask(generator)
    found = restore_input(request.image, damage, request.hole, request.mask, prior, request.seed or 0, report)
    for note in found.notes:
        say(note)
    size = config.render.resolution
    given = {"image": resized(found.image, size), "mask": None if mask is None else resized(mask, size)}
    return {**given, "notes": found.notes}, found.pictures, {"restore_s": found.seconds}
