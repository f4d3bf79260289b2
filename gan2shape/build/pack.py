"""`gan2shape build CATEGORY`: a pack from nothing.

    gan           render training images, train generator, discriminator and image encoder, write the pack
    masks         teach the mask head
    scene         pre-train depth, view and light networks on single images that the generator reproduces
    outlines      teach these networks objects whose outline is cut off (`shape.outlines`)
    symmetry      teach the depth network from mirror images, where objects are symmetric (`shape.symmetry`)
    relief        teach the depth network the fine form that relit pictures tell (`shape.relief`)
    calibration   choose depth scale and tilt; write the lights (`build.calibrate`); limits of verdicts and the
                  frame of photos (`build.limits`, `build.frame`)
    attributes    teach the network that reads attributes of an image (`build.attributes`); it needs no other step
    confidence    teach the network that says how far depth may be off (`build.confidence`)
    editing       teach the network that turns and relights latents (`build.editing`)
    card          measure how controllable the generator is (`bench.card`)

Every step leaves its result in the pack and is passed over where that exists. A build that was stopped continues from
the last shard, checkpoint or state in the work folder.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gan2shape.bench.card import measure_pack, rounded, write_measured
from gan2shape.build import confidence, editing
from gan2shape.build.attribute_images import pairs_on_disk
from gan2shape.build.attributes import (
    FIRST_SEED,
    HELD_OUT_FIRST_SEED,
    attribute_lines,
    measure_attributes,
    train_attributes,
)
from gan2shape.build.calibrate import calibrate, lights_of
from gan2shape.build.confidence import judged_on_disk, measure_confidence, pipeline_config, train_confidence
from gan2shape.build.costs import RENDER_WORKERS, images_there, last_statistics, really_trained_from
from gan2shape.build.editing import editing_config, measure_editing, pool_on_disk, train_editing
from gan2shape.build.frame import measure_frame
from gan2shape.build.limits import choose_limits
from gan2shape.build.masks import train_mask_head, train_segmenter
from gan2shape.build.plan import OPTIONAL, BuildPlan, category_of, check_disk, plan_build
from gan2shape.build.requests import SPARE_IMAGES, BuildRequest
from gan2shape.checkpoints.open import CARD_NAME
from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.files import claim, release
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.measure.attributes import ATTRIBUTES_NAME, AttributeConfig, load_attributes, save_attributes
from gan2shape.nn.confidence import CONFIDENCE_NAME, load_confidence, save_confidence
from gan2shape.nn.editing import EDITING_NAME, load_editing, save_editing
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.calibration import FRAME, LIMIT
from gan2shape.prior.masked_generator import MaskedGenerator, masked_generator
from gan2shape.prior.packs import load_pack, read_card, save_pack, update_card, write_card
from gan2shape.prior.scene import NETWORK_NAME, pretrained_networks, settings
from gan2shape.shape.outlines import learn_outlines
from gan2shape.shape.pool import make_pool
from gan2shape.shape.pretrain import PretrainConfig, pretrain
from gan2shape.shape.relief import learn_relief
from gan2shape.shape.symmetry import learn_symmetry
from gan2shape.synth.dataset import CLASSES_KEY, prerender, render_set
from gan2shape.synth.registry import get_category
from gan2shape.train.config import TrainConfig
from gan2shape.train.dataset import ShardedImages, class_names
from gan2shape.train.loop import train
from gan2shape.train.sheets import samples_sheet
from gan2shape.train.state import trained_prior

STATE_NAME = "pretraining.pt"  # of the scene networks, in the work folder
SAMPLES_NAME = "samples.png"
SEGMENTER_FIRST_SEED = 900_000  # of the renders that teach the mask head; below every exam


@dataclass(frozen=True)
class BuildResult:
    """What a build did."""

    category: str
    pack: Path
    plan: BuildPlan
    seconds: dict[str, float] = field(default_factory=dict)  # wall time of each step that was made now
    card: dict[str, Any] = field(default_factory=dict)  # as it stands beside the weights

    def as_json(self) -> dict[str, Any]:
        """Plain types for `--json`."""
        plain = {"category": self.category, "pack": self.pack, "plan": self.plan.as_json()}
        return {**plain, "seconds": self.seconds, "card": self.card}


def build_pack(request: BuildRequest, report: Reporter = silent) -> BuildResult:
    """Make what is missing of a pack, or only plan it. The plan goes to stderr before anything begins.

    Raises UserError for bad requests, places that cannot be written, too little disk, and damaged files.
    """
    plan = plan_build(request)
    if request.dry_run:
        return BuildResult(request.category, request.pack, plan)
    created = claim(request.pack)
    try:
        created = [*_claimed_work(request.folder), *created]
        check_disk(plan, request.folder)
        for line in plan.lines():
            say(line)
        seconds = {}
        for step in plan.to_do:
            began = time.perf_counter()
            MAKERS[step](request, report)
            seconds[step] = round(time.perf_counter() - began, 1)
    finally:
        release(created)
    return BuildResult(request.category, request.pack, plan, seconds, read_card(request.pack / CARD_NAME))


def _claimed_work(folder: Path) -> list[Path]:
    try:
        return claim(folder)
    except UserError as error:
        raise UserError(str(error).replace("--out", "--work")) from error


def make_gan(request: BuildRequest, report: Reporter = silent) -> Path:
    """Render, train and write the pack: averaged generator, discriminator, encoder, statistics, card, samples."""
    config = request.training()
    render_images(request, config, request.images, report)
    train(tuple(request.data.values()), request.folder, config, start_from=request.trained_from, report=report)
    facts = last_statistics(request.folder)
    count, renderings = request.share(request.images), " and ".join(request.data)
    mirrored = ", mirrored at random" if config.flips else ""
    card = {
        "category": request.category,
        "training_images": f"{count} synthetic renders (seeds 0 to {count - 1}), {renderings}{mirrored}",
        "objects_version": get_category(request.category).version,
        "training": {"kimg": facts.get("kimg"), "images_per_s_last": facts.get("images_per_s")},
        "licence": "Apache-2.0",
        "limits": "A small demonstration trained on synthetic objects only; it knows no photograph.",
    }
    if (before := really_trained_from(request)) is not None:
        card["training"] |= {"began_at": category_of(before, request.category)}
    if config.labels:
        card[CLASSES_KEY] = list(class_names(request.data["plain"]))
    prior = replace(trained_prior(request.folder, card), calibration=lights_of(request.category))
    samples_sheet(prior.generator, request.pack / SAMPLES_NAME)
    known = read_card(request.pack / CARD_NAME)
    card |= {"attributes": known["attributes"]} if "attributes" in known else {}  # which need no generator
    write_card(request.pack, card)  # the weights come last: where they are, this step is done
    return save_pack(request.pack, replace(prior, card=card))


def render_images(request: BuildRequest, config: TrainConfig, n: int, report: Reporter) -> None:
    """The first `n` training images, where they are missing. Raises UserError for a damaged shard, which would be
    passed over in training.
    """
    count = request.share(n)
    for rendering, folder in request.data.items():
        if images_there(folder) < count:
            prerender(
                request.category, count, 0, folder, workers=RENDER_WORKERS, size=config.generator.resolution,
                report=report, rendering=rendering, labels=config.labels,
            )  # fmt: skip


def make_masks(request: BuildRequest, report: Reporter = silent) -> Path:
    """Teach the mask head: renders with known masks teach a segmenter, its answers on samples teach the head."""
    sizes, prior = request.sizes, load_pack(request.pack)
    resolution = prior.generator.config.resolution
    report("mask head", 0, 2)
    made = render_set(request.category, [SEGMENTER_FIRST_SEED + i for i in range(sizes.segmenter_images)], resolution)
    segmenter = train_segmenter(made.truth.image, made.truth.mask, sizes.segmenter_steps)
    report("mask head", 1, 2)
    head = train_mask_head(prior.generator, segmenter, sizes.head_steps)
    report("mask head", 2, 2)
    networks = {**prior.networks, "mask": head.state_dict()}
    configs = {**prior.network_configs, "mask": vars(head.config)}
    return save_pack(request.pack, replace(prior, networks=networks, network_configs=configs))


def make_scene(request: BuildRequest, report: Reporter = silent) -> Path:
    """Render the first training images, where they are missing, and learn the scene networks from them."""
    plan, config = request.sizes.pretrain, request.training()
    render_images(request, config, min(request.images, plan.n_objects + SPARE_IMAGES), report)
    state = request.folder / STATE_NAME
    folders = tuple(request.data.values())
    path = add_scene(request.category, request.pack, state, plan, folders, request.device, report, request.begins_at)
    state.unlink(missing_ok=True)  # what it was kept for is in the pack; another call shall learn anew
    return path


def add_scene(
    category: str,
    pack: Path,
    state_path: Path,
    plan: PretrainConfig,
    data: Path | tuple[Path, ...],
    device: str = "cpu",
    report: Reporter = silent,
    begins_at: Path | None = None,
) -> Path:
    """Give a pack the depth, view and light networks that its training images teach, beginning at what the networks of
    another pack see: one that it has grown from, or one of a related category. Returns the weights' path.
    """
    generator, config = opened_pack(category, pack, device)
    prior = generator.prior
    images = ShardedImages(data, config.render.resolution).first(plan.n_objects + SPARE_IMAGES)
    taught = None if begins_at is None else category_of(begins_at, category)
    teacher = None if taught is None else opened_pack(taught, begins_at, device)
    learnt = pretrain(generator, config, plan, state_path, report, images, teacher)
    networks = {**prior.networks, NETWORK_NAME: dict(learnt.named_parameters())}
    configs = {**prior.network_configs, NETWORK_NAME: settings(config)}
    n_rounds = 1 + (begins_at is None) * len(config.initial.pretraining_depth_scales)
    card = {name: entry for name, entry in prior.card.items() if name not in OPTIONAL}  # of networks that are no more
    card["pretraining"] = {**asdict(plan), "rounds": n_rounds} | ({} if taught is None else {"teacher": taught})
    return save_pack(pack, replace(prior, networks=networks, network_configs=configs, card=card))


def make_outlines(request: BuildRequest, report: Reporter = silent) -> Path:
    """Render the first training images, where they are missing, and let the pack's scene networks learn from them how
    objects look whose outline is cut off.
    """
    return taught_further(request, "outlines", learn_outlines, report)


def make_symmetry(request: BuildRequest, report: Reporter = silent) -> Path:
    """Let the pack's depth network learn from the mirror images of the first training images."""
    return taught_further(request, "symmetry", learn_symmetry, report)


def make_relief(request: BuildRequest, report: Reporter = silent) -> Path:
    """Let the pack's depth network learn the fine form that relit pictures of the first training images tell."""
    return taught_further(request, "relief", learn_relief, report)


def taught_further(request: BuildRequest, step: str, learn: Callable[..., SceneNetworks], report: Reporter) -> Path:
    """The pack's scene networks learn from the first training images, which are rendered where they are missing."""
    plan, training = getattr(request.sizes, step), request.training()
    render_images(request, training, min(request.images, plan.n_objects + SPARE_IMAGES), report)
    generator, config = opened_pack(request.category, request.pack, request.device)
    prior = generator.prior
    shown = ShardedImages(tuple(request.data.values()), config.render.resolution).first(plan.n_objects + SPARE_IMAGES)
    known = pretrained_networks(prior, config)
    if known is None:
        raise UserError(f"The scene networks of {request.pack} do not fit: make them anew with --only scene.")
    pool = make_pool(generator, plan.n_objects, plan.seed, shown, keeps_originals=True)
    learnt = learn(known, pool, generator, config, plan, report)
    networks = {**prior.networks, NETWORK_NAME: dict(learnt.named_parameters())}
    return save_pack(request.pack, replace(prior, networks=networks, card={**prior.card, step: asdict(plan)}))


def opened_pack(category: str, pack: Path, device: str) -> tuple[MaskedGenerator, ShapeConfig]:
    """A pack, and the settings of its category at its resolution."""
    generator = masked_generator(load_pack(pack, choose_device(device)))
    config = compose(ShapeConfig, category, calibration=generator.prior.calibration.settings)
    resolution = generator.prior.generator.config.resolution
    return generator, replace(config, render=replace(config.render, resolution=resolution))


def make_calibration(request: BuildRequest, report: Reporter = silent) -> None:
    """Write the calibration, and on the card what true depth chose and how often the verdict is right."""
    generator = masked_generator(load_pack(request.pack))
    found = choose_limits(request.category, generator, request.sizes.verdict_images, report)
    further = {LIMIT + figure: pair for figure, pair in found.limits.items()}
    frame = measure_frame(request.category, generator)
    further |= {} if frame is None else {FRAME + name: value for name, value in asdict(frame).items()}
    calibration = calibrate(request.category, request.pack, report, further)
    entries = {"chosen_with_true_depth": list(calibration.chosen_with_true_depth)}
    update_card(request.pack, {**entries, "verdict": found.rates} if found.rates else entries)


def make_attributes(request: BuildRequest, report: Reporter = silent) -> Path:
    """Render pairs of images, learn to read them, and write on the card how well objects of other seeds are read."""
    plan, resolution, folder = request.sizes.attributes, AttributeConfig.resolution, request.folder / "attributes"
    pairs = pairs_on_disk(request.category, FIRST_SEED, plan.n_objects, resolution, folder, report)
    held_out = pairs_on_disk(request.category, HELD_OUT_FIRST_SEED, plan.n_held_out, resolution, folder, report)
    spec, device = get_category(request.category), choose_device(request.device)
    network = train_attributes(spec, pairs, plan, request.training().precision, device, report)
    path = save_attributes(request.pack / ATTRIBUTES_NAME, network)
    measured = measure_attributes(load_attributes(path), held_out)  # as it stands in the file
    for line in attribute_lines(measured):
        say(line)
    update_card(request.pack, {"attributes": rounded({**measured, "plan": asdict(plan)})})
    return path


def make_confidence(request: BuildRequest, report: Reporter = silent) -> Path:
    """Reconstruct objects, learn where their depth is wrong, and write on the card how well that is ranked for objects
    of other seeds.
    """
    plan, folder = request.sizes.confidence, request.folder / "confidence"
    device = choose_device(request.device)
    generator = masked_generator(load_pack(request.pack, device))
    config = pipeline_config(request.category, generator)
    what = (generator, config, folder, report)
    judged = judged_on_disk(request.category, confidence.FIRST_SEED, plan.n_objects, *what)
    held_out = judged_on_disk(request.category, confidence.HELD_OUT_FIRST_SEED, plan.n_held_out, *what)
    network = train_confidence(judged, plan, device, report)
    path = save_confidence(request.pack / CONFIDENCE_NAME, network)
    shutil.rmtree(folder)  # another call shall judge the pack as it is then
    measured = measure_confidence(load_confidence(path), held_out)  # as it stands in the file
    for name, value in measured.items():
        say(f"{name:24s} {value:.4g}")
    update_card(request.pack, {"confidence": rounded({**measured, "plan": asdict(plan)})})
    return path


def make_editing(request: BuildRequest, report: Reporter = silent) -> Path:
    """Reconstruct objects, learn to turn and relight their latents, and write on the card how well that goes for
    objects of other seeds.
    """
    plan, folder = request.sizes.editing, request.folder / "editing"
    generator = masked_generator(load_pack(request.pack, choose_device(request.device)))
    config = editing_config(request.category, generator)
    what = (generator, config, folder, report)
    pool = pool_on_disk(request.category, editing.FIRST_SEED, plan.n_objects, *what)
    held_out = pool_on_disk(request.category, editing.HELD_OUT_FIRST_SEED, plan.n_held_out, *what)
    path = save_editing(request.pack / EDITING_NAME, train_editing(pool, plan, generator, config, report))
    shutil.rmtree(folder)  # another call shall reconstruct with the pack as it is then
    measured = measure_editing(load_editing(path), held_out, plan, generator, config)  # as it stands in the file
    for name, value in measured.items():
        say(f"{name:24s} {value:.4g}")
    update_card(request.pack, {"editing": rounded({**measured, "plan": asdict(plan)})})
    return path


def make_card(request: BuildRequest, report: Reporter = silent) -> None:
    """Measure the pack and write the numbers into its card."""
    write_measured(request.pack, measure_pack(request.category, request.pack, request.sizes.card, report))


MAKERS = {
    "gan": make_gan,
    "masks": make_masks,
    "scene": make_scene,
    "outlines": make_outlines,
    "symmetry": make_symmetry,
    "relief": make_relief,
    "calibration": make_calibration,
    "attributes": make_attributes,
    "confidence": make_confidence,
    "editing": make_editing,
    "card": make_card,
}
