"""How long a run will take: one image through each part, times the schedule's counts."""

import time
from collections.abc import Callable

import torch

from gan2shape.core.config import ShapeConfig
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.render import render_depth
from gan2shape.shape.ellipsoid import JUDGED_YAWS_DEG, N_JUDGED_BATCHES, N_SLANT_STEPS
from gan2shape.shape.projection import prior_features

WITH_GRADIENT = 3.0  # forward and backward against forward alone
RECOMPUTED = 1.0  # more, where large images are made a second time in the backward pass


def estimate_seconds(generator: MaskedGenerator, config: ShapeConfig, inverts: bool) -> float:
    """Expected wall time on this machine, in seconds. inverts: an image is to be inverted first."""
    prior, size = generator.prior, config.render.resolution
    latents = prior.w_mean.expand(2, -1)  # two: what is made anew for every call weighs less
    with torch.no_grad():
        images = prior.generator.synthesis(latents)
        features = prior_features(prior, config.steps.n_feature_blocks)
        depth, views = images.new_ones(1, 1, size, size), images.new_zeros(2, 6)
        synthesis_s = seconds_of(lambda: prior.generator.synthesis(latents)) / 2
        features_s = seconds_of(lambda: features(images)) / 2
        camera = config.render
        rendered_s = seconds_of(lambda: render_depth(depth, views, camera.fov_deg, backend=camera.backend)) / 2
    return sum(
        n * seconds
        for n, seconds in zip(counts(generator, config, inverts), (synthesis_s, features_s, rendered_s), strict=True)
    )


def counts(generator: MaskedGenerator, config: ShapeConfig, inverts: bool) -> tuple[float, float, float]:
    """How many images G makes, the features compare, and the renderer renders: forward passes of one image each."""
    steps, tried = config.steps, config.initial.slants_deg
    known = config.initial.use_depth_network and pretrained_networks(generator.prior, config) is not None
    n_stages = config.stages_from(known)
    stages = [steps.count("projection", i) for i in range(n_stages)]
    encodes = ENCODER_NAME in generator.prior.networks  # then no projector has to learn which slant is right
    chooses = len(tried) > 1 and not known
    slant_steps = N_SLANT_STEPS if chooses and not encodes else 0
    judged = N_JUDGED_BATCHES * len(tried) if chooses and not encodes else 0
    rotated = 2 * len(JUDGED_YAWS_DEG) * len(tried) if chooses and encodes else 0
    learnt = steps.batch * (sum(stages) + slant_steps)  # images of projection steps
    joint = steps.batch * sum(steps.count("joint", i) for i in range(n_stages))
    collected = steps.n_collect * n_stages + steps.batch * judged + rotated
    n_tracks, n_starts = (1, 0) if encodes else (config.invert.n_tracks, config.invert.n_starts)
    inverted = config.invert.n_steps / 2 * (n_tracks + 1) if inverts else 0
    recomputed = RECOMPUTED if generator.prior.generator.config.resolution > config.render.resolution else 0.0
    refined = steps.n_collect * n_stages * config.ablation.refine_steps
    synthesised = (learnt + inverted + refined) * (WITH_GRADIENT + recomputed) + collected
    synthesised += n_starts if inverts else 0
    judged_joint = joint if steps.feature_weight > 0 else 0
    compared = (learnt + judged_joint + refined) * (WITH_GRADIENT + 1) + inverted * WITH_GRADIENT
    rendered = learnt + collected + joint * WITH_GRADIENT
    return synthesised, compared, rendered


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time of a second call: the first one pays for what is done once."""
    began = time.perf_counter()
    work()
    first = time.perf_counter() - began
    if first > 5.0:  # large networks: what is done once is small beside them
        return first
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
