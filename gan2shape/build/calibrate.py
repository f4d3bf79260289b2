"""Choosing what a pack's calibration holds: lights from the training images, depth scale and tilt with true depth, and
the limits of what the prior knows (build/limits.py).

The lights are those of the category's renders. Depth scale and tilt are gauges that images do not fix: the
values with the least SIDE on validation objects of the exam are taken, and the calibration says that true depth chose
them. Everything else is neutral until somebody writes it into the file.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from gan2shape.bench.exam import COUNT, LEAST_SIZE, ExamObject, exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import Observation
from gan2shape.core.resources import exam_dir
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.calibration import Calibration, Value, read_calibration, write_calibration
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import open_prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.initialize import from_depth_network
from gan2shape.shape.state import make_target, new_state
from gan2shape.synth.registry import get_category

DEPTH_SCALES = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
YAW_TILTS = (-0.01, 0.0, 0.01, 0.02, 0.03, 0.04)
CHOSEN = ("depth_scale", "tilt")
DIGITS = 4


def calibrate(
    category: str, pack: Path, report: Reporter = silent, further: Mapping[str, Value] | None = None
) -> Calibration:
    """Write the calibration of a pack and return it. Values of an existing file stay, unless they are chosen here.

    further: values by name that were chosen elsewhere (limits, frame).
    Raises UserError for a damaged pack or calibration.
    """
    there = read_calibration(pack)
    values = {**lights_of(category).values, **there.values, **(further or {})}
    calibration = Calibration(**values, chosen_with_true_depth=there.chosen_with_true_depth)
    generator, config = open_prior(category, pack, device="cpu")
    networks, items = pretrained_networks(generator.prior, config), validation_objects(category, config)
    if networks is not None and generator.prior.encoder is not None:
        if items:
            calibration = choose_with_true_depth(calibration, networks, generator, config, items, report)
        elif calibration.depth_scale is None:
            calibration = replace(calibration, depth_scale=1.0, tilt=(0.0, 0.0))
    write_calibration(pack, calibration)  # only now: a step that was interrupted is not done
    return calibration


def lights_of(category: str) -> Calibration:
    """The lights that the category's renders were lit by, in the terms of the configuration."""
    lights = get_category(category).lights
    (ambient, ambient_half), (diffuse, diffuse_half) = map(_middle, (lights.ambient, lights.diffuse))
    mean = ambient, diffuse, _middle(lights.lx)[0], _middle(lights.ly)[0]
    gain = (-diffuse_half, diffuse_half)
    alpha = round(-ambient_half / diffuse_half, DIGITS) if diffuse_half > 0 else 0.0
    return Calibration(light_lx=lights.lx, light_ly=lights.ly, light_gain=gain, light_alpha=alpha, light_mean=mean)


def validation_objects(category: str, config: ShapeConfig) -> list[ExamObject]:
    """Those of the exam, at the pack's resolution; none where there is no exam, or the pack is too small for one."""
    if not (exam_dir() / category).is_dir() or config.render.resolution < LEAST_SIZE:
        return []
    return exam_objects(category, "val", COUNT["val"], config.render.resolution)


def choose_with_true_depth(
    calibration: Calibration,
    networks: SceneNetworks,
    generator: MaskedGenerator,
    config: ShapeConfig,
    items: list[ExamObject],
    report: Reporter = silent,
) -> Calibration:
    """The depth scale of least SIDE without tilt, then the tilt by yaw of least SIDE at that scale."""
    n_trials = len(DEPTH_SCALES) + len(YAW_TILTS) - 1  # the scale that is chosen has been tried without tilt
    sides: dict[tuple[float, float], float] = {}

    def side(scale: float, tilt: float) -> float:
        if (scale, tilt) not in sides:
            shape = replace(config.initial, network_depth_scale=scale, network_tilt=(0.0, tilt), relit_cutoff=0.0)
            sides[scale, tilt] = mean_side(networks, generator, replace(config, initial=shape), items)
            report("calibration", len(sides), n_trials, side=sides[scale, tilt])
        return sides[scale, tilt]

    scale = min(DEPTH_SCALES, key=lambda scale: side(scale, 0.0))
    tilt = min(YAW_TILTS, key=lambda tilt: side(scale, tilt))
    chosen = tuple(name for name in calibration.values if name in calibration.chosen_with_true_depth)
    names = (*CHOSEN, *(name for name in chosen if name not in CHOSEN))
    return replace(calibration, depth_scale=scale, tilt=(0.0, tilt), chosen_with_true_depth=names)


@torch.no_grad()
def mean_side(
    networks: SceneNetworks, generator: MaskedGenerator, config: ShapeConfig, items: list[ExamObject]
) -> float:
    """Mean SIDE x 100 of what the scene networks see, the encoder's guess in the place of an inversion."""
    sides = []
    for item in items:
        latent = generator.prior.guess_latent(item.image)
        _, mask = generator(latent)
        target = make_target(Observation(item.image, mask, latent), generator)
        model = from_depth_network(
            new_state(config, latent.shape[-1], "cpu").model, networks, target, generator, config
        )
        depth = model.depth(target.image)
        sides.append(score_depth(depth, item.depth, item.mask, item.fov_deg)["side"])
    return sum(sides) / len(sides)


def _middle(interval: tuple[float, float]) -> tuple[float, float]:
    """(middle, half the width), rounded."""
    low, high = interval
    return round((low + high) / 2, DIGITS), round((high - low) / 2, DIGITS)
