"""A finished run, opened again from its folder: what editing, rendering and the viewer begin with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import UNREADABLE_ARRAYS
from gan2shape.core.records import Observation
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.batch import is_one_pass
from gan2shape.shape.initialize import DEPTH_NETWORK
from gan2shape.shape.reconstruct import Reconstruction, finished, reconstruct
from gan2shape.shape.stages import STEP_NAMES
from gan2shape.shape.state import STATE_NAME, load_state, make_target, new_state
from gan2shape.shape.verdict import inversion_figures

SCENE_NAME = "scene.npz"  # a run's arrays: the observation among them
SAME_DEPTH = 1e-3  # mean difference, scene units: what two devices differ by at most


def reopen(folder: Path, generator: MaskedGenerator, config: ShapeConfig, is_inverted: bool) -> Reconstruction:
    """The result of the run in `folder`, with the generator and configuration that it was made with.

    is_inverted: whether the run explained a given image. Raises UserError for a run that has not ended, for missing or
    damaged files, and where configuration or weights are others.
    """
    observation = read_observation(folder / SCENE_NAME, generator.prior.w_mean.device, is_inverted)
    if not (folder / STATE_NAME).is_file() and is_one_pass(generator, config):
        return made_again(folder, observation, generator, config)
    target = make_target(observation, generator if config.ablation.learn_from_inversion else None)
    state = new_state(config, observation.latent.shape[-1], observation.image.device)
    if not (folder / STATE_NAME).is_file():
        raise UserError(f"{folder} has lost its {STATE_NAME}: put it back, or reconstruct anew with `gan2shape run`.")
    origin = {"image": observation.image, "w_mean": generator.prior.w_mean}
    state, progress, scenes = load_state(folder / STATE_NAME, state, config, origin)
    if not scenes or progress.n_done < len(STEP_NAMES) * config.stages_from(progress.initial == DEPTH_NETWORK):
        raise UserError(f"The run in {folder} has not ended: finish it with `gan2shape run --resume {folder}`.")
    (figures,) = inversion_figures([observation], generator)
    return finished(observation, scenes, state, target, progress, generator, config, figures=figures)


def made_again(
    folder: Path, observation: Observation, generator: MaskedGenerator, config: ShapeConfig
) -> Reconstruction:
    """What one pass makes of the observation, where nothing was optimised and no state was kept.

    Raises UserError where it is another depth than was stored: the weights have changed.
    """
    made = reconstruct(observation, generator, config)
    (stored,) = read_arrays(folder / SCENE_NAME, ("depth",), observation.image.device)
    if stored.shape != made.scene.depth.shape or float((stored - made.scene.depth).abs().mean()) > SAME_DEPTH:
        raise UserError(f"{folder} was made with other weights than are there now: reconstruct anew.")
    return made


def read_arrays(path: Path, names: Sequence[str], device: torch.device) -> list[Tensor]:
    """Some of a run's arrays. Raises UserError where they are not there."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [torch.from_numpy(stored[name]).to(device) for name in names]
    except UNREADABLE_ARRAYS as error:
        raise UserError(
            f"{path} is missing, damaged or of another version: reconstruct anew with `gan2shape run`."
        ) from error


def read_observation(path: Path, device: torch.device, is_inverted: bool) -> Observation:
    """Image, mask and latent of a run's arrays. Raises UserError where they are not there."""
    return Observation(*read_arrays(path, ("image", "mask", "latent"), device), is_inverted)
