"""`gan2shape build --generator`: for a custom generator all that a bundled pack has beside its GAN, made once.

    mask      object masks and ranges of views and lights (`build.custom`, kept where `gan2shape prior` keeps them)
    encoder   an image encoder, taught by the generator's own samples (`build.encoder`)
    scene     depth, view and light networks, pre-trained on its own samples (`shape.pretrain`, as for bundled packs)
    card      what was measured on samples, the calibration; the pack is finished

No step needs an image, let alone a true depth. So there are neither limits of what the prior knows nor a confidence,
and depth scale and light strengths are the category's. Every step leaves its result in the pack; a build that was
stopped goes on from the last sample, state or step.
"""

import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from gan2shape.build.custom import estimate_prior
from gan2shape.build.encoder import measure_encoder, samples_on_disk, train_encoder_on_samples
from gan2shape.build.frame import frame_of
from gan2shape.build.generator_plan import (
    CARD_IMAGES,
    STEPS,
    GeneratorBuildRequest,
    GeneratorBuildSizes,
    plan_generator,
    require_buildable,
)
from gan2shape.build.pack import BuildResult
from gan2shape.build.plan import BuildPlan, check_disk
from gan2shape.checkpoints.open import CARD_NAME
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import choose_device
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_atomic
from gan2shape.core.locks import locked
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.nn.image_encoder import ENCODER_NAME, encoder_settings
from gan2shape.prior.cache import EstimatedPrior, content_hash, find_estimated
from gan2shape.prior.calibration import CALIBRATION_NAME, FRAME, LIMIT, Calibration, write_calibration
from gan2shape.prior.made import (
    MADE_NAME,
    MASK_NAME,
    PARTS_NAME,
    MadePack,
    found_folder,
    is_made,
    note_made,
    notes_of,
    read_made,
    usual_folder,
    with_made,
    write_made,
)
from gan2shape.prior.masked_generator import MaskedGenerator, masked_generator, sample_latents
from gan2shape.prior.open import bundled_calibration, open_prior
from gan2shape.prior.packs import update_card
from gan2shape.prior.scene import NETWORK_NAME, settings
from gan2shape.shape.pretrain import pretrain

WORK_NAME = "work"  # samples and states, in the pack's folder until it is finished
SCENE_STATE_NAME, ENCODER_STATE_NAME = "pretraining.pt", "encoder.pt"
FRAME_SEED = 1  # of the samples whose frame is measured
FRAME_BATCH = 8
LEFT_OUT = {
    "limits": "what the prior knows: needs images that it was not made from",
    "confidence": "how far depth may be off: needs true depth",
    "attributes": "needs labels",
    "editing": "turns and relights latents in one pass: not tried from samples alone",
    "tilt": "a slope of depth with the view: needs true depth; 0 is used",
}


def build_generator(request: GeneratorBuildRequest, report: Reporter = silent) -> BuildResult:
    """Make what is missing of a generator's pack, or only plan it. The plan goes to stderr before anything begins.

    Raises UserError for a generator, settings or a folder that cannot be used, and for too little disk.
    """
    if is_made(request.generator):
        raise UserError(f"{request.generator} is a pack that was built already: use it with `gan2shape run`.")
    if request.copy and request.generator.is_dir():
        raise UserError(f"{request.generator} is a folder, and --copy takes a file: name the file in it.")
    if request.copy and request.out is not None:
        target = request.out / request.generator.name
        if target.is_file() and content_hash(target) != content_hash(request.generator):
            raise UserError(f"{target} is another file, and the copy would replace it: choose another --out.")
    sizes = request.sizes()
    opened, config = opened_at(request, sizes)
    require_buildable(request, opened)
    folder = pack_folder(request)
    made = known_pack(request, folder, opened, config.category)
    kept = find_estimated(request.generator, "cpu", request.class_index)
    has_masks = made is not None or (kept is not None and kept.category == config.category and not request.force)
    plan = plan_generator(request, folder, made, has_masks, opened, config)
    if request.dry_run:
        return BuildResult(config.category, folder, plan)
    if not plan.to_do:
        note_made(request.generator, folder, request.class_index)
        return BuildResult(config.category, folder, plan, card=made.card)
    with locked(folder):
        check_disk(plan, folder)
        for line in plan.lines():
            say(line)
        if request.force:
            clear(folder, request.generator)
        return _build(request, sizes, folder, made, plan, config.category, report)


def _build(
    request: GeneratorBuildRequest,
    sizes: GeneratorBuildSizes,
    folder: Path,
    made: MadePack | None,
    plan: BuildPlan,
    category: str,
    report: Reporter,
) -> BuildResult:
    """The steps that are to do, each of which ends with its result in the pack."""
    seconds: dict[str, float] = {}
    for step in STEPS:
        if step not in plan.to_do and not (step == MASK_NAME and made is None):
            continue
        began = time.perf_counter()
        if step == MASK_NAME:
            made = make_mask(request, sizes, folder, category, report)
        elif made is not None:
            made = MAKERS[step](request, sizes, folder, made, report)
        seconds[step] = round(time.perf_counter() - began, 1)
    note_made(request.generator, folder, request.class_index)
    shutil.rmtree(folder / WORK_NAME, ignore_errors=True)
    card = {} if made is None else read_made(folder).card
    return BuildResult(category, folder, plan, seconds, card)


def remove_pack(path: Path, class_index: int | None = None) -> list[Path]:
    """Forget the pack of a generator, or the one in a folder: its files and the notes that name it. What `gan2shape
    prior` learnt and files that no build has written stay. Returns what was removed.

    Raises UserError where there is nothing to remove.
    """
    if is_made(path):
        folder: Path | None = path
        made = read_made(path)
        notes = notes_of(made.generator, made.class_index) if made.generator.exists() else []
    else:
        notes = notes_of(path, class_index)
        try:
            folder = found_folder(path, class_index)
        except UserError:  # the note names a folder that has gone
            folder = None
    if folder is None and not notes:
        raise UserError(f"There is no pack of {path}: nothing is removed.")
    if folder is not None:
        with locked(folder):
            clear(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
    for note in notes:
        note.unlink(missing_ok=True)
    return [*([] if folder is None else [folder]), *notes]


def clear(folder: Path, spared: Path | None = None) -> None:
    """Remove what a build writes into a pack's folder, but not `spared`, from which it is made anew."""
    names = [MADE_NAME, PARTS_NAME, CARD_NAME, CALIBRATION_NAME]
    if is_made(folder):
        own = read_path_inside(folder)
        names += [] if own is None else [own]
    shutil.rmtree(folder / WORK_NAME, ignore_errors=True)
    for path in (folder / name for name in names):
        if spared is None or not path.exists() or not path.samefile(spared):
            path.unlink(missing_ok=True)


def read_path_inside(folder: Path) -> str | None:
    """Name of the copy of the generator that a pack holds; None where it holds none, or is damaged."""
    try:
        path = read_made(folder).generator
    except UserError:
        return None
    return path.name if path == Path(path.name) and (folder / path).is_file() else None


def opened_at(request: GeneratorBuildRequest, sizes: GeneratorBuildSizes) -> tuple[MaskedGenerator, ShapeConfig]:
    """The generator at the pack's resolution, with what `prior` learnt, and the configuration of its scene networks."""
    size, device, number = (f"render.resolution={sizes.resolution}",), request.device, request.class_index
    return open_prior(
        request.category, request.generator, None, size, device=device, class_index=number, with_pack=False
    )


def pack_folder(request: GeneratorBuildRequest) -> Path:
    """Where the pack is, or goes."""
    if request.out is not None:
        return request.out
    found = found_folder(request.generator, request.class_index)
    return found or usual_folder(request.generator, request.class_index)


def known_pack(
    request: GeneratorBuildRequest, folder: Path, opened: MaskedGenerator, category: str
) -> MadePack | None:
    """What is in the folder already. Raises UserError for a pack of another generator, or with other settings."""
    if not is_made(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder} is a file: choose another folder with --out.")
        return None
    if request.force:
        return None
    made = read_made(folder, choose_device(request.device))
    if made.digest != content_hash(request.generator) or (made.class_index or 0) != (request.class_index or 0):
        raise UserError(f"{folder} holds the pack of another generator or class: choose another folder with --out.")
    if (made.resolution, made.category) != (opened.resolution, category):
        raise UserError(
            f"{folder} was begun for {made.category} at {made.resolution} x {made.resolution}: build it anew with "
            "--force, or another one with --out."
        )
    return made


def make_mask(
    request: GeneratorBuildRequest, sizes: GeneratorBuildSizes, folder: Path, category: str, report: Reporter
) -> MadePack:
    """Masks and ranges, unless `gan2shape prior` has learnt them for this category, and the file that they lie in."""
    path, number = request.generator, request.class_index
    kept = find_estimated(path, "cpu", number)
    if kept is None or kept.category != category or request.force:
        estimate_prior(path, category, choose_device(request.device), sizes.foreground, report, number)
        kept = find_estimated(path, "cpu", number)
    named = path.absolute()
    if request.copy:
        target = folder / path.name
        if not target.exists() or not target.samefile(path):  # an original that lies there is no copy of ours
            write_atomic(target, lambda temporary: shutil.copyfile(path, temporary))
            named = Path(path.name)
    opened, _ = opened_at(replace(request, category=category), sizes)
    made = MadePack(
        named, content_hash(path), number, kept.category, opened.resolution, _ranges(kept),
        networks={MASK_NAME: kept.head_state}, network_configs={MASK_NAME: kept.head_settings},
    )  # fmt: skip
    write_made(folder, made)
    return read_made(folder)


def _ranges(kept: EstimatedPrior) -> dict[str, dict[str, Any]]:
    return kept.page.get("ranges", {})


def prior_with(
    request: GeneratorBuildRequest, sizes: GeneratorBuildSizes, made: MadePack
) -> tuple[MaskedGenerator, ShapeConfig]:
    """The generator with what its unfinished pack holds, on the device of the request."""
    opened, config = opened_at(replace(request, category=made.category), sizes)
    device = opened.prior.w_mean.device
    on_device = {name: {k: t.to(device) for k, t in state.items()} for name, state in made.networks.items()}
    prior = with_made(opened.prior, replace(made, networks=on_device), opened.resolution)
    return replace(masked_generator(prior), centre=opened.centre, needs_mask=True), config


def make_encoder(
    request: GeneratorBuildRequest, sizes: GeneratorBuildSizes, folder: Path, made: MadePack, report: Reporter
) -> MadePack:
    """Samples on disk, then the encoder."""
    generator, _ = prior_with(request, sizes, made)
    samples = folder / WORK_NAME / f"samples-{sizes.encoder.seed}"  # a build that goes on may name another seed
    images, z = samples_on_disk(generator, samples, sizes.encoder, report)
    state = folder / WORK_NAME / ENCODER_STATE_NAME
    encoder = train_encoder_on_samples(generator, images, z, sizes.encoder, state, report)
    return added(folder, made, ENCODER_NAME, encoder.state_dict(), encoder_settings(encoder))


def make_scene(
    request: GeneratorBuildRequest, sizes: GeneratorBuildSizes, folder: Path, made: MadePack, report: Reporter
) -> MadePack:
    """Depth, view and light networks, from the generator's samples."""
    generator, config = prior_with(request, sizes, made)
    learnt = pretrain(generator, config, sizes.pretrain, folder / WORK_NAME / SCENE_STATE_NAME, report)
    return added(folder, made, NETWORK_NAME, dict(learnt.named_parameters()), settings(config))


def added(
    folder: Path, made: MadePack, name: str, state: dict[str, torch.Tensor], config: dict[str, Any]
) -> MadePack:
    """The pack with one network more, as it stands on disk then: a build that goes on later begins with the same."""
    networks, configs = {**made.networks, name: state}, {**made.network_configs, name: config}
    write_made(folder, replace(made, networks=networks, network_configs=configs))
    return read_made(folder)


def make_card(
    request: GeneratorBuildRequest, sizes: GeneratorBuildSizes, folder: Path, made: MadePack, report: Reporter
) -> MadePack:
    """Measure, write calibration and card; from now on runs find the pack."""
    report("card", 0, 2)
    generator, config = prior_with(request, sizes, made)
    measured = measure_encoder(generator)
    report("card", 1, 2)
    calibration = calibration_of(generator, made.category)
    write_calibration(folder, calibration)
    rounds = 1 + len(config.initial.pretraining_depth_scales)
    card = {
        "checkpoint": request.generator.name,
        "generator_hash": made.digest,
        "category": made.category,
        "resolution": made.resolution,
        "measured": {name: round(value, 4) for name, value in measured.items()},
        "encoder": asdict(sizes.encoder),
        "pretraining": {**asdict(sizes.pretrain), "rounds": rounds},
        "chosen_with_true_depth": list(calibration.chosen_with_true_depth),
        "left_out": LEFT_OUT,
    }
    update_card(folder, card)
    made = replace(made, is_finished=True)
    write_made(folder, made)
    report("card", 2, 2)
    return made


def calibration_of(generator: MaskedGenerator, category: str | None) -> Calibration:
    """The category's light strengths and depth scale; how the generator's samples frame their object. What describes
    the weights of the category's own pack is left out.
    """
    known = bundled_calibration(category)
    own = (LIMIT, FRAME, "relit_cutoff")
    values = {name: value for name, value in known.values.items() if not name.startswith(own)}
    values |= {"tilt": (0.0, 0.0)} if "tilt" in values else {}
    chosen = tuple(name for name in known.chosen_with_true_depth if name in values and name != "tilt")
    z_dim = generator.prior.generator.config.z_dim
    z = torch.randn(CARD_IMAGES // 2, z_dim, generator=torch.Generator().manual_seed(FRAME_SEED))
    parts = []
    for few in sample_latents(z, generator).split(FRAME_BATCH):
        with torch.no_grad():
            parts.append([one.cpu() for one in generator(few)])
    images, masks = (torch.cat(column) for column in zip(*parts, strict=True))
    frame = frame_of(images, masks)
    values |= {} if frame is None else {FRAME + name: value for name, value in asdict(frame).items()}
    return Calibration(**values, chosen_with_true_depth=chosen)


MAKERS = {ENCODER_NAME: make_encoder, NETWORK_NAME: make_scene, "card": make_card}
