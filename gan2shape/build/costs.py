"""What each step of `gan2shape build CATEGORY` costs: seconds and disk.

Rendering and training are measured for a moment on this machine, unless the training folder says how fast it was. The
other steps come from known rates of one CPU core, scaled with the number of pixels; a GPU makes the plan too long.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gan2shape.build.editing import POOL_BYTES
from gan2shape.build.requests import SPARE_IMAGES, BuildRequest
from gan2shape.checkpoints.open import CARD_NAME, PACK_NAME
from gan2shape.core.devices import choose_device, choose_dtype, choose_threads
from gan2shape.core.errors import UserError
from gan2shape.measure.attributes import AttributeConfig
from gan2shape.nn.confidence import ConfidenceConfig
from gan2shape.nn.layers import n_parameters
from gan2shape.prior.open import category_config
from gan2shape.prior.packs import read_card
from gan2shape.synth.dataset import training_images
from gan2shape.train.dataset import SHARD_PATTERN, ShardedImages, open_shard
from gan2shape.train.loop import STATS_NAME, TrainConfig, train_step
from gan2shape.train.state import TrainState, add_encoder, new_state

MEASURED_IMAGES, MEASURED_STEPS = 8, 3  # of the short measurement
RENDER_WORKERS = 2
# Seconds of one CPU core at 64 x 64 pixels, float32.
SEGMENTER_STEP_S, HEAD_STEP_S = 0.06, 0.15
SLANT_S, FIT_STEP_S, JOINT_STEP_S = 0.25, 0.1, 0.5
OUTLINE_S = 0.012  # of one image of a step
RELIT_S, RELIEF_S = 0.3, 0.012  # of one object; of one image of a step
PLANE_STEP_S, SYMMETRY_S = 2e-3, 0.023  # of one object; of one image of a step
INVERSION_S, PROJECTION_S, REGRESSOR_STEP_S = 8.0, 20.0, 0.03
CALIBRATION_S = 150.0
ATTRIBUTE_STEP_S = 0.006  # for each object of a batch
RECONSTRUCTION_S, CONFIDENCE_STEP_S = 0.15, 0.008  # of one object; for each object of a batch
EDITED_OBJECT_S, EDITING_STEP_S = 0.06, 0.019  # the same
PACK_BYTES_PER_WEIGHT, CHECKPOINT_BYTES_PER_WEIGHT = 2, 16  # float16; weights, their average and two moments
SCENE_WEIGHTS = 2_000_000  # of the depth, view and light networks


def last_statistics(work: Path) -> dict[str, Any]:
    """The last whole line that a training wrote; empty where there is none."""
    return (statistics(work) or [{}])[-1]


def statistics(work: Path) -> list[dict[str, Any]]:
    """The whole lines that a training wrote. Raises UserError where its file cannot be read."""
    path = work / STATS_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: delete it, or name another --work.") from error
    whole = []
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and all(isinstance(found.get(k), int | float) for k in ("kimg", "images_per_s")):
            whole.append(found)
    return whole


def images_there(data: Path) -> int:
    """Rendered images in a folder. Raises UserError for a damaged shard."""
    total = 0
    for path in sorted(data.glob(SHARD_PATTERN)):
        try:
            total += len(open_shard(path))
        except (OSError, ValueError, EOFError, TypeError) as error:
            raise UserError(f"{path} is damaged: delete it, and it is rendered again.") from error
    return total


def render_seconds(category: str, n: int, resolution: int, rendering: str = "plain") -> float:
    """Expected seconds for n images, by a short measurement."""
    if n <= 0:
        return 0.0
    began = time.perf_counter()
    training_images(category, list(range(MEASURED_IMAGES)), resolution, rendering)
    return (time.perf_counter() - began) / MEASURED_IMAGES * n / RENDER_WORKERS


def _render_cost(request: BuildRequest, n: int, resolution: int) -> tuple[float, int]:
    seconds, n_missing = 0.0, 0
    for rendering, folder in request.data.items():
        missing = max(0, request.share(n) - images_there(folder))
        seconds += render_seconds(request.category, missing, resolution, rendering)
        n_missing += missing
    return seconds, n_missing * 3 * resolution**2


def kimg_before(pack: Path | None) -> float:
    """Thousands of images that the generator of a pack has seen, which count in a training that begins with it."""
    return 0.0 if pack is None else read_card(pack / CARD_NAME).get("training", {}).get("kimg") or 0.0


def really_trained_from(request: BuildRequest) -> Path | None:
    """The pack that the training in the work folder began with: none where it had begun at nothing before."""
    pack, lines = request.trained_from, statistics(request.folder)
    return pack if lines and lines[0]["kimg"] > kimg_before(pack) else None


def _gan_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    seconds, disk = _render_cost(request, request.images, config.generator.resolution)
    state = fresh_state(config)
    networks = (state.generator, state.discriminator, *filter(None, [state.encoder]))
    n_weights = sum(map(n_parameters, networks))
    disk += n_weights * (PACK_BYTES_PER_WEIGHT + CHECKPOINT_BYTES_PER_WEIGHT)
    before = last_statistics(request.folder)
    pack = request.trained_from
    begun = before.get("kimg", kimg_before(pack))
    if begun >= config.kimg and not before:
        raise UserError(
            f"{pack} has seen {1000 * begun:.0f} images already, which count: ask for more than that with --kimg."
        )
    left = max(0.0, 1000 * (config.kimg - begun))
    rate = before["images_per_s"] if before.get("images_per_s", 0) > 0 else training_rate(config, state)
    note = f"{request.images} images rendered, {config.kimg:g} thousand shown, {rate:.0f} a second"
    if before:
        note += f"; {before['kimg']:g} thousand are done"
    elif pack is not None:
        note += f"; begins at {pack}, whose {begun:g} thousand count"
    elif request.teacher is not None:
        note += f"; begins at nothing, as networks of {request.teacher} have other sizes"
    return seconds + left / rate, disk, note


def _masks_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    sizes, resolution = request.sizes, config.generator.resolution
    steps = sizes.segmenter_steps * SEGMENTER_STEP_S + sizes.head_steps * HEAD_STEP_S
    rendered = RENDER_WORKERS * render_seconds(request.category, sizes.segmenter_images, resolution)
    return rendered + steps * pixels(resolution), 0, "mask head, taught by renders with known masks"


def _scene_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.pretrain, config.generator.resolution
    n_scales = len(category_config(request.category).initial.pretraining_depth_scales)
    n_rounds = 1 + (request.begins_at is None) * n_scales
    steps = plan.n_fit_objects * SLANT_S + plan.n_fit * FIT_STEP_S + n_rounds * plan.n_joint * JOINT_STEP_S
    seconds, disk = _first_images_cost(request, plan.n_objects, resolution)
    disk += SCENE_WEIGHTS * (PACK_BYTES_PER_WEIGHT + CHECKPOINT_BYTES_PER_WEIGHT)
    return seconds + steps * pixels(resolution), disk, "depth, view and light networks"


def _first_images_cost(request: BuildRequest, n_objects: int, resolution: int) -> tuple[float, int]:
    """Seconds and bytes of the images that scene networks learn from, where step gan does not render them."""
    if not (request.pack / PACK_NAME).is_file():
        return 0.0, 0
    return _render_cost(request, min(request.images, n_objects + SPARE_IMAGES), resolution)


def _outlines_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.outlines, config.generator.resolution
    seconds, disk = _first_images_cost(request, plan.n_objects, resolution)
    learnt = plan.n_steps * plan.batch * OUTLINE_S * pixels(resolution)
    return seconds + learnt, disk, "depth, view and light of objects whose outline is cut"


def _symmetry_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.symmetry, config.generator.resolution
    seconds, disk = _first_images_cost(request, plan.n_objects, resolution)
    a_round = plan.n_objects * plan.n_plane_steps * PLANE_STEP_S + plan.n_steps * plan.batch * SYMMETRY_S
    return seconds + plan.n_rounds * a_round * pixels(resolution), disk, "depth, from mirror images"


def _relief_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.relief, config.generator.resolution
    seconds, disk = _first_images_cost(request, plan.n_objects, resolution)
    a_round = plan.n_objects * RELIT_S + plan.n_steps * plan.batch * RELIEF_S
    return seconds + plan.n_rounds * a_round * pixels(resolution), disk, "fine form of depth, from relit pictures"


def _calibration_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    return CALIBRATION_S, 0, "depth scale and tilt, chosen with true depth of validation objects; lights; limits"


def _attributes_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.attributes, AttributeConfig.resolution
    n_images = 2 * (plan.n_objects + plan.n_held_out)
    rendered = RENDER_WORKERS * render_seconds(request.category, n_images, resolution)
    learnt = plan.n_steps * plan.batch * ATTRIBUTE_STEP_S
    return rendered + learnt, n_images * 3 * resolution**2, "reads heading, light and traits of the object"


def _confidence_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.confidence, config.generator.resolution
    n_objects = plan.n_objects + plan.n_held_out
    made = n_objects * RECONSTRUCTION_S + RENDER_WORKERS * render_seconds(request.category, n_objects, resolution)
    learnt = plan.n_steps * plan.batch * CONFIDENCE_STEP_S * pixels(resolution)
    disk = int(n_objects * 2 * ConfidenceConfig.n_evidence * resolution**2)
    return made + learnt, disk, "says how far depth may be off at each pixel"


def _editing_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.editing, config.generator.resolution
    n_objects = plan.n_objects + plan.n_held_out
    seconds = n_objects * EDITED_OBJECT_S + plan.n_steps * plan.batch * EDITING_STEP_S
    disk = n_objects * POOL_BYTES * resolution**2
    return seconds * pixels(resolution), disk, "turns and relights latents in one pass"


def _card_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    sizes = request.sizes.card
    steps = sizes.n_inverted * INVERSION_S + sizes.n_controlled * PROJECTION_S
    return steps + sizes.regressor_steps * REGRESSOR_STEP_S, 0, "measured quality"


COSTS = {  # step -> (seconds, bytes of disk, what is made)
    "gan": _gan_cost,
    "masks": _masks_cost,
    "scene": _scene_cost,
    "outlines": _outlines_cost,
    "symmetry": _symmetry_cost,
    "relief": _relief_cost,
    "calibration": _calibration_cost,
    "attributes": _attributes_cost,
    "confidence": _confidence_cost,
    "editing": _editing_cost,
    "card": _card_cost,
}


def pixels(resolution: int) -> float:
    """Pixels of an image, in those of 64 x 64."""
    return (resolution / 64) ** 2


def fresh_state(config: TrainConfig) -> TrainState:
    """Networks and optimisers as a training begins with them."""
    state = new_state(
        config.generator, config.discriminator, config.lr, config.beta2, 0, config.r1_interval, config.seed,
        choose_device(config.device),
    )  # fmt: skip
    if config.autoencoding_share > 0:
        add_encoder(state, config.lr, config.beta2, config.seed)
    return state


def training_rate(config: TrainConfig, state: TrainState) -> float:
    """Images a second, by a few steps on noise; changes `state`."""
    device = choose_device(config.device)
    dtype, resolution = choose_dtype(config.precision, device), config.generator.resolution
    choose_threads(config.n_threads, device)
    with tempfile.TemporaryDirectory() as scratch:
        noise = np.random.default_rng(0).integers(0, 256, (config.batch, resolution, resolution, 3), dtype=np.uint8)
        np.save(Path(scratch) / SHARD_PATTERN.replace("*", "0"), noise)
        images = ShardedImages(scratch, resolution)
        state.step = 1  # without penalty: one step in r1_interval has it
        train_step(config, state, images, dtype, device)
        began = time.perf_counter()
        for _ in range(MEASURED_STEPS):
            train_step(config, state, images, dtype, device)
        seconds = time.perf_counter() - began
        del images  # Windows keeps mapped files otherwise
    return MEASURED_STEPS * config.batch / seconds
