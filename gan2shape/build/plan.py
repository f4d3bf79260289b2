"""What `gan2shape build CATEGORY` is asked, and what it is going to do: steps, seconds, disk.

Rendering and training are measured for a moment on this machine, unless the training folder says how fast it was. The
other steps come from known rates of one CPU core, scaled with the number of pixels; a GPU makes the plan too long.
"""

import json
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from gan2shape.bench.card import CardSizes
from gan2shape.bench.exam import LEAST_SIZE
from gan2shape.build.attributes import AttributePlan
from gan2shape.build.confidence import ConfidencePlan
from gan2shape.build.editing import POOL_BYTES, EditingPlan
from gan2shape.checkpoints.open import CARD_NAME, PACK_NAME
from gan2shape.core.compose import compose, nearest
from gan2shape.core.devices import choose_device, choose_dtype, choose_threads
from gan2shape.core.errors import UserError
from gan2shape.core.progress import format_seconds
from gan2shape.core.requests import refuse_options
from gan2shape.core.resources import exam_dir, known_categories, pack_dir
from gan2shape.measure.attributes import ATTRIBUTES_NAME, AttributeConfig
from gan2shape.nn.confidence import CONFIDENCE_NAME, ConfidenceConfig
from gan2shape.nn.editing import EDITING_NAME
from gan2shape.nn.layers import n_parameters
from gan2shape.prior.calibration import read_calibration
from gan2shape.prior.open import category_config
from gan2shape.prior.packs import read_card, read_tensors
from gan2shape.prior.scene import NETWORK_NAME
from gan2shape.shape.outlines import OutlinePlan
from gan2shape.shape.pretrain import PretrainConfig
from gan2shape.synth.dataset import training_images
from gan2shape.synth.registry import get_category
from gan2shape.train.dataset import SHARD_PATTERN, ShardedImages, open_shard
from gan2shape.train.grow import grown_settings
from gan2shape.train.loop import STATS_NAME, TrainConfig, train_step
from gan2shape.train.state import TrainState, add_encoder, new_state

STEPS = ("gan", "masks", "scene", "outlines", "calibration", "attributes", "confidence", "editing", "card")
OPTIONAL = ("outlines",)  # made only where `--only` names them
SPARE_IMAGES = 1000  # more than pre-training asks for: it passes over images whose object is not reproduced
MEASURED_IMAGES, MEASURED_STEPS = 8, 3  # of the short measurement
RENDER_WORKERS = 2
# Seconds of one CPU core at 64 x 64 pixels, float32.
SEGMENTER_STEP_S, HEAD_STEP_S = 0.06, 0.15
SLANT_S, FIT_STEP_S, JOINT_STEP_S = 0.25, 0.1, 0.5
OUTLINE_S = 0.012  # of one image of a step
INVERSION_S, PROJECTION_S, REGRESSOR_STEP_S = 8.0, 20.0, 0.03
CALIBRATION_S = 150.0
ATTRIBUTE_STEP_S = 0.006  # for each object of a batch
RECONSTRUCTION_S, CONFIDENCE_STEP_S = 0.15, 0.008  # of one object; for each object of a batch
EDITED_OBJECT_S, EDITING_STEP_S = 0.06, 0.019  # the same
PACK_BYTES_PER_WEIGHT, CHECKPOINT_BYTES_PER_WEIGHT = 2, 16  # float16; weights, their average and two moments
SCENE_WEIGHTS = 2_000_000  # of the depth, view and light networks


@dataclass(frozen=True)
class BuildSizes:
    """How much each step does after the training."""

    segmenter_images: int = 512  # renders with masks that teach the mask head
    segmenter_steps: int = 400
    head_steps: int = 300
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    outlines: OutlinePlan = field(default_factory=OutlinePlan)
    verdict_images: int = 64  # of each kind, that the limits of verdicts are chosen on and rated with
    attributes: AttributePlan = field(default_factory=AttributePlan)
    confidence: ConfidencePlan = field(default_factory=ConfidencePlan)
    editing: EditingPlan = field(default_factory=EditingPlan)
    card: CardSizes = field(default_factory=CardSizes)


@dataclass(frozen=True)
class BuildRequest:
    """One pack of one category."""

    category: str  # of `gan2shape.synth`, with a YAML
    out: Path | None = None  # folder of the pack [weights/CATEGORY]
    work: Path | None = None  # folder of images, checkpoints and states [runs/train-CATEGORY]
    images: int = 48_000  # training images that are rendered
    kimg: float = TrainConfig.kimg  # thousands of images shown in training
    only: tuple[str, ...] = ()  # these of STEPS, made anew where they exist (the GAN is never replaced); () is all
    device: str = "auto"  # of the training and of the scene networks
    settings: tuple[str, ...] = ()  # key=value of `TrainConfig`
    dry_run: bool = False  # plan and stop
    natural: bool = False  # render every second training image as a photo might show it (`synth.natural`)
    grow: Path | None = None  # a whole pack of the category, to go on from at twice its resolution
    sizes: BuildSizes = field(default_factory=BuildSizes)

    @property
    def pack(self) -> Path:
        """The folder of the pack."""
        return self.out or pack_dir(self.category)

    @property
    def folder(self) -> Path:
        """The training folder."""
        return self.work or Path("runs") / f"train-{self.category}"

    @property
    def data(self) -> dict[str, Path]:
        """Folders of rendered images, by rendering; each holds the same seeds."""
        images = self.folder / "images"
        return {"plain": images} | ({"natural": images.with_name("images-natural")} if self.natural else {})

    def share(self, n: int) -> int:
        """How many of `n` training images, at least, are rendered into each folder."""
        return -(-n // len(self.data))

    def training(self) -> TrainConfig:
        """Settings of the training. Raises UserError for what `TrainConfig` does not have, and for a pack that cannot
        grow.
        """
        refuse_options(self.settings)
        networks = {} if self.grow is None else grown_settings(self.grow)
        config = compose(TrainConfig, overrides=("flips=true", *self.settings), calibration=networks)
        return replace(config, kimg=self.kimg, device=self.device)


@dataclass(frozen=True)
class PlannedStep:
    """One step, before it begins."""

    name: str
    is_to_do: bool
    note: str  # what is there, or what is made
    seconds: float = 0.0
    disk_bytes: int = 0


@dataclass(frozen=True)
class BuildPlan:
    """All steps in order."""

    pack: Path
    work: Path
    steps: tuple[PlannedStep, ...]
    closing: tuple[str, ...] = ()  # sentences: what the times are for, what makes it shorter

    @property
    def to_do(self) -> tuple[str, ...]:
        """Names of the steps that will be made."""
        return tuple(step.name for step in self.steps if step.is_to_do)

    @property
    def seconds(self) -> float:
        """Expected wall time."""
        return sum(step.seconds for step in self.steps)

    @property
    def disk_bytes(self) -> int:
        """Further disk that will be used, in both folders together."""
        return sum(step.disk_bytes for step in self.steps)

    def lines(self) -> list[str]:
        """The plan for people."""
        lines = [f"{'pack':12s} {self.pack}", f"{'work':12s} {self.work}"]
        for step in self.steps:
            cost = f"about {format_seconds(step.seconds)}, {format_bytes(step.disk_bytes)}; " if step.is_to_do else ""
            lines.append(f"{step.name:12s} {cost}{step.note}")
        total = f"about {format_seconds(self.seconds)}, {format_bytes(self.disk_bytes)}"
        return [*lines, f"{'in all':12s} {total if self.to_do else 'nothing to do'}", *self.closing]

    def as_json(self) -> dict[str, Any]:
        """Plain types for `--json`."""
        return {**asdict(self), "seconds": self.seconds, "disk_bytes": self.disk_bytes}


# What `--only` makes anew with a step, because it describes that step's result.
MADE_ANEW = dict.fromkeys(STEPS, ()) | {
    "masks": ("card",),
    "scene": ("calibration", "confidence", "editing", "card"),
    "outlines": ("calibration", "confidence", "editing"),
}


def plan_build(request: BuildRequest) -> BuildPlan:
    """Which steps are done, and what the others cost. Writes nothing but a temporary file.

    Raises UserError for an unknown category, step or setting, a damaged pack, and a part that has to come first.
    """
    check_request(request)
    config, found = request.training(), found_parts(request.pack, request.category)
    only = tuple(step for step in STEPS if step in request.only or any(step in MADE_ANEW[one] for one in request.only))
    known = {step: step in found and (step == "gan" or step not in only) for step in STEPS}
    unfit = "" if "card" in request.only else no_exam(request.category, config.generator.resolution)
    skipped = ("card",) * bool(unfit) + (() if only else OPTIONAL)
    wanted = [step for step in only or STEPS if not (known[step] or step in skipped)]
    if "outlines" in wanted and "outlines" in found and "scene" not in wanted:  # its teacher is no more
        raise UserError(
            f"The scene networks of {request.pack} have learnt cut outlines already: make both anew with "
            "--only scene --only outlines."
        )
    first = {"masks": "gan", "scene": "masks", "outlines": "scene", "calibration": "gan", "confidence": "scene"}
    first["editing"] = "scene"
    first["card"] = "masks"
    for step in wanted:
        need = first.get(step)
        if need is not None and need not in found and need not in wanted:
            raise UserError(
                f"Step {step} needs step {need} first: run `gan2shape build {request.category} --only {need}`."
            )
    steps = []
    for step in STEPS:
        if step in wanted:
            seconds, disk, note = COSTS[step](request, config)
            steps.append(PlannedStep(step, True, note, round(seconds, 1), disk))
        else:
            why = unfit if step == "card" else f": --only {step} makes it" if step in OPTIONAL else ""
            steps.append(PlannedStep(step, False, found.get(step) or f"left out{why}"))
    return BuildPlan(request.pack, request.folder, tuple(steps))


def check_request(request: BuildRequest) -> None:
    """Raises UserError for an unknown category or step and for numbers that cannot be."""
    if request.category not in known_categories():
        raise UserError(f"unknown category {request.category!r}{nearest(request.category, known_categories())}")
    get_category(request.category)
    for step in request.only:
        if step not in STEPS:
            raise UserError(f"unknown step {step!r}{nearest(step, STEPS)}")
    if request.images < 1 or request.kimg <= 0:
        raise UserError("There is nothing to learn from: --images and --kimg have to be above 0.")


def found_parts(pack: Path, category: str) -> dict[str, str]:
    """Steps whose result is in a pack's folder, each with what is known of it. Raises UserError for a damaged pack."""
    files = {"attributes": ATTRIBUTES_NAME, "confidence": CONFIDENCE_NAME, "editing": EDITING_NAME}
    beside = {step: "done" for step, name in files.items() if (pack / name).is_file()}
    if not (pack / PACK_NAME).is_file():
        return beside
    tensors, card = read_tensors(pack / PACK_NAME)[0], read_card(pack / CARD_NAME)
    if card.get("category", category) != category:
        raise UserError(f"{pack} is a pack of {card['category']}, not of {category}: choose another folder with --out.")
    version, now = card.get("objects_version", 1), get_category(category).version
    if version != now:
        raise UserError(
            f"{pack} was trained on version {version} of the {category} objects and their seeds draw version {now}: "
            "build another pack with --out."
        )
    networks = {name.split("/")[1] for name in tensors if name.startswith("networks/")}
    kimg = card.get("training", {}).get("kimg")
    found = {"gan": "done" + (f" ({kimg:g} thousand images shown)" if isinstance(kimg, int | float) else "")}
    parts = {
        "masks": "mask" in networks,
        "scene": NETWORK_NAME in networks,
        "outlines": "outlines" in card,
        "calibration": read_calibration(pack).depth_scale is not None,
        "card": "measured" in card,
    }
    return found | beside | {step: "done" for step, is_there in parts.items() if is_there}


def no_exam(category: str, resolution: int) -> str:
    """Why a generator of this resolution has no card: there is no exam, or it is too small; empty if it has one."""
    if not (exam_dir() / category).is_dir():
        return ": there is no exam"
    return "" if resolution >= LEAST_SIZE else f": the exam needs images of at least {LEAST_SIZE} x {LEAST_SIZE}"


def check_disk(plan: BuildPlan, folder: Path) -> None:
    """Raises UserError where `folder`, which exists, has less free space than the plan needs."""
    free = shutil.disk_usage(folder).free
    if free < plan.disk_bytes:
        raise UserError(
            f"The build needs about {format_bytes(plan.disk_bytes)} of disk and {folder} has {format_bytes(free)}: "
            "free some, name another --work, or render fewer --images."
        )


def format_bytes(n: int | float) -> str:
    """`12 MB`, `1.3 GB`."""
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.0f} MB"


def last_statistics(work: Path) -> dict[str, Any]:
    """The last whole line that a training wrote; empty where there is none."""
    path = work / STATS_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: delete it, or name another --work.") from error
    for line in reversed(lines):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and all(isinstance(found.get(k), int | float) for k in ("kimg", "images_per_s")):
            return found
    return {}


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


def _gan_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    seconds, disk = _render_cost(request, request.images, config.generator.resolution)
    state = fresh_state(config)
    networks = (state.generator, state.discriminator, *filter(None, [state.encoder]))
    n_weights = sum(map(n_parameters, networks))
    disk += n_weights * (PACK_BYTES_PER_WEIGHT + CHECKPOINT_BYTES_PER_WEIGHT)
    before = last_statistics(request.folder)
    begun = 0.0 if request.grow is None else read_card(request.grow / CARD_NAME).get("training", {}).get("kimg", 0.0)
    left = max(0.0, 1000 * (config.kimg - before.get("kimg", begun)))
    rate = before["images_per_s"] if before.get("images_per_s", 0) > 0 else training_rate(config, state)
    note = f"{request.images} images rendered, {config.kimg:g} thousand shown, {rate:.0f} a second"
    return seconds + left / rate, disk, note + (f"; {before['kimg']:g} thousand are done" if before else "")


def _masks_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    sizes, resolution = request.sizes, config.generator.resolution
    steps = sizes.segmenter_steps * SEGMENTER_STEP_S + sizes.head_steps * HEAD_STEP_S
    rendered = RENDER_WORKERS * render_seconds(request.category, sizes.segmenter_images, resolution)
    return rendered + steps * pixels(resolution), 0, "mask head, taught by renders with known masks"


def _scene_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.pretrain, config.generator.resolution
    n_rounds = 1 + (request.grow is None) * len(category_config(request.category).initial.pretraining_depth_scales)
    steps = plan.n_fit_objects * SLANT_S + plan.n_fit * FIT_STEP_S + n_rounds * plan.n_joint * JOINT_STEP_S
    seconds, disk = 0.0, 0
    if (request.pack / PACK_NAME).is_file():  # else step gan renders them
        seconds, disk = _render_cost(request, min(request.images, plan.n_objects + SPARE_IMAGES), resolution)
    disk += SCENE_WEIGHTS * (PACK_BYTES_PER_WEIGHT + CHECKPOINT_BYTES_PER_WEIGHT)
    return seconds + steps * pixels(resolution), disk, "depth, view and light networks"


def _outlines_cost(request: BuildRequest, config: TrainConfig) -> tuple[float, int, str]:
    plan, resolution = request.sizes.outlines, config.generator.resolution
    seconds, disk = 0.0, 0
    if (request.pack / PACK_NAME).is_file():
        seconds, disk = _render_cost(request, min(request.images, plan.n_objects + SPARE_IMAGES), resolution)
    learnt = plan.n_steps * plan.batch * OUTLINE_S * pixels(resolution)
    return seconds + learnt, disk, "depth, view and light of objects whose outline is cut"


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
