"""How long a run will take: one image through each part, times the schedule's counts. And what makes it shorter."""

import time
from collections.abc import Callable

import torch

from gan2shape.core.config import ShapeConfig
from gan2shape.core.progress import format_seconds
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import pretrained_networks
from gan2shape.scene.render import render_depth
from gan2shape.shape.ellipsoid import JUDGED_YAWS_DEG
from gan2shape.shape.losses import BASE_RESOLUTION
from gan2shape.shape.projection import prior_features

FROZEN_WITH_GRADIENT = 2.1  # forward and backward against forward alone, of networks whose weights do not learn
WITH_GRADIENT = 3.0  # the same of what learns, renders among it
RECOMPUTED = 1.0  # more, where large images are made a second time in the backward pass
LONG_S = 120.0  # from here on the ways to a shorter run are named
ON_GPU = "a GPU (--device cuda)"  # one of them


def estimate_seconds(generator: MaskedGenerator, config: ShapeConfig, inverts: bool) -> float:
    """Expected wall time on this machine, in seconds. inverts: an image is to be inverted first."""
    prior, size = generator.prior, config.render.resolution
    latents = prior.w_mean.expand(2, -1)  # two: what is made anew for every call weighs less
    with torch.no_grad():
        images = prior.generator.synthesis(latents)
        features = prior_features(prior, config.steps.n_feature_blocks)
        depth, views = images.new_ones(1, 1, size, size), images.new_zeros(2, 6)
        camera, device = config.render, images.device
        synthesis_s = seconds_of(lambda: prior.generator.synthesis(latents), device) / 2
        features_s = seconds_of(lambda: features(images), device) / 2
        rendered_s = seconds_of(lambda: render_depth(depth, views, camera.fov_deg, backend=camera.backend), device) / 2
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
    slant_steps = config.initial.slant_steps if chooses and not encodes else 0
    judged = config.initial.slant_judged * len(tried) if chooses and not encodes else 0
    rotated = 2 * len(JUDGED_YAWS_DEG) * len(tried) if chooses and encodes else 0
    learnt = steps.learnt_at_once * (sum(stages) + slant_steps)  # images of projection steps
    joint = steps.batch * sum(steps.count("joint", i) for i in range(n_stages))
    collected = steps.n_collect * n_stages + judged + rotated
    n_tracks, n_starts = (1, 0) if encodes else (config.invert.n_tracks, config.invert.n_starts)
    inverted = config.invert.n_steps / 2 * (n_tracks + 1) if inverts else 0
    n_at_once = getattr(generator.prior.generator.synthesis, "n_at_once", steps.learnt_at_once)
    recomputed = RECOMPUTED if steps.learnt_at_once > n_at_once else 0.0
    refined = steps.n_collect * n_stages * config.ablation.refine_steps
    synthesised = (learnt + inverted + refined) * (FROZEN_WITH_GRADIENT + recomputed) + collected
    synthesised += n_starts if inverts else 0
    judged_joint = joint if steps.feature_weight > 0 else 0
    compared = (learnt + judged_joint + refined) * (FROZEN_WITH_GRADIENT + 1) + inverted * FROZEN_WITH_GRADIENT
    rendered = learnt + collected + joint * WITH_GRADIENT
    return synthesised, compared, rendered


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of a second call: the first one pays for what is done once."""

    def timed() -> float:
        began = time.perf_counter()
        work()
        if device.type == "cuda":  # which would only have been told what to do
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    first = timed()
    return first if first > 5.0 else timed()  # large networks: what is done once is small beside them


def announcement(seconds: float, generator: MaskedGenerator, config: ShapeConfig) -> str:
    """The expected time in a sentence, with the device, and what would make a long run shorter."""
    device, ways = generator.prior.w_mean.device, []
    sentence = f"This will take about {format_seconds(seconds)} on {named_device(device)}."
    if seconds < LONG_S:
        return sentence
    if config.render.resolution > BASE_RESOLUTION:
        ways.append(f"render.resolution={BASE_RESOLUTION}")
    if len(config.initial.slants_deg) > 1 and generator.prior.encoder is None:
        ways.append("one slant (initial.slants_deg=[0])")
    if generator.needs_mask and "pack" not in generator.prior.card and ENCODER_NAME not in generator.prior.networks:
        ways.append(f"a pack, made once (gan2shape build --generator {generator.prior.card.get('checkpoint', 'FILE')})")
    if device.type == "cpu":
        ways.append(ON_GPU)
    return f"{sentence} Shorter: {', or '.join(ways)}." if ways else sentence


def named_device(device: torch.device) -> str:
    """What an expected time is for."""
    n_threads = torch.get_num_threads()
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    return f"this CPU ({threads})" if device.type == "cpu" else f"this GPU ({device.type})"
