"""`gan2shape bench edit`: both effects of an edit against TRUE renders of the turned and relit object.

The method sees the exam image alone. Each object is shown in six further poses; the truth is its own mesh in the same
view, under the same light. Beside the effects stand the unchanged input and its inversion, which any edit has to beat
to be worth anything. Reported for each pose: PSNR inside the true object, IoU of the silhouettes (effect-GAN's by the
mask head), identity where the pack's attribute network is there, and the perceptual distance where its network is
installed; over all: the response (by the card's regressor and by the attribute network), the round trip, and
milliseconds an edit.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.bench.edit_rows import edit_rows
from gan2shape.bench.exam import ExamObject, exam_objects, seen_at
from gan2shape.bench.opening import exam_category, open_measured
from gan2shape.bench.regressor import Regressor, render_pairs, train_regressor
from gan2shape.bench.requests import BenchRequest
from gan2shape.bench.table import OBJECTS_NAME, check_settings, read_objects, settings_of
from gan2shape.bench.truth import TrueViews, render_truth
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines, to_json, write_text_atomic
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.records import Observation
from gan2shape.edit.controls import Pose
from gan2shape.edit.effects import own_of, project_poses, render_poses
from gan2shape.measure.attributes import AttributeNetwork, bundled_attributes, identity
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.measure.perceptual import PerceptualNetwork, load_perceptual, perceptual_distance
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.shape.observe import observe_image
from gan2shape.shape.read_light import with_read_light
from gan2shape.shape.reconstruct import Reconstruction, reconstruct

COUNT = 16  # objects that are measured unless a number is given
YAW_DEG, LIGHT_X = 20.0, 0.6  # of the poses
REGRESSOR_FIRST_SEED, REGRESSOR_OBJECTS, REGRESSOR_STEPS = 100_000, 1500, 1500  # as for a pack's card
N_TIMED = 3  # edits that are timed, after one that is not


@dataclass(frozen=True)
class Instruments:
    """What reads pictures, and took no part in making them."""

    regressor: Regressor
    perceptual: PerceptualNetwork | None = None
    attributes: AttributeNetwork | None = None


def poses_for(item: ExamObject) -> dict[str, Pose]:
    """The poses by name. Lights keep the object's true ly, so that only lx changes."""
    ly = float(item.light[0, 3])
    left, right = (-LIGHT_X, ly), (LIGHT_X, ly)
    return {
        "yaw +": Pose(yaw_deg=YAW_DEG),
        "yaw -": Pose(yaw_deg=-YAW_DEG),
        "light left": Pose(direction=left),
        "light right": Pose(direction=right),
        "yaw +, light left": Pose(yaw_deg=YAW_DEG, direction=left),
        "yaw -, light right": Pose(yaw_deg=-YAW_DEG, direction=right),
    }


def true_renders(item: ExamObject, poses: dict[str, Pose]) -> TrueViews:
    """The object in these poses: angles against the exam view, and of the true light only what a pose names."""
    views = torch.cat([pose.view(item.light) for pose in poses.values()])
    return render_truth(item, views, torch.cat([pose.light(item.light) for pose in poses.values()]))


def measure_object(
    item: ExamObject, generator: MaskedGenerator, config: ShapeConfig, instruments: Instruments, report: Reporter
) -> dict[str, dict]:
    """Scores of one object: by pose and way, then what is read over all poses."""
    observation = observe_image(item.image, generator, config, None, report)
    made = with_read_light(reconstruct(observation, generator, config, report))
    poses = poses_for(item)
    truth, rendered = true_renders(item, poses), render_poses(made, list(poses.values()))
    through = project_poses(made, rendered, list(poses.values()))
    with torch.no_grad():
        inverted, inverted_mask = generator(made.observation.latent)
    n = len(poses)
    ways = {
        "input": (item.image.expand(n, -1, -1, -1), item.mask.expand(n, -1, -1, -1)),
        "inversion": (inverted.expand(n, -1, -1, -1), inverted_mask.expand(n, -1, -1, -1)),
        "effect-3D": (through.rendered.image, rendered.mask),
        "effect-GAN": (through.images, through.masks),
    }
    scores: dict[str, dict] = {name: {} for name in poses}
    for way, (images, masks) in ways.items():
        for i, one in enumerate(compared(images.cpu(), masks.cpu(), truth, instruments)):
            scores[list(poses)[i]][way] = one
    read = {
        "truth": changes(instruments, truth.images),
        "effect-3D": changes(instruments, through.rendered.image.cpu()),
        "effect-GAN": changes(instruments, through.images.cpu()),
    }
    return {"poses": scores, "read": read, "round trip": round_trip(made), "ms": milliseconds(made)}


def compared(
    images: Float[Tensor, "N 3 S S"],
    masks: Float[Tensor, "N 1 S S"],
    truth: TrueViews,
    instruments: Instruments,
) -> list[dict[str, float]]:
    """Each image against its true render. `identity`: 1 where the attribute network sees the same object."""
    inside = truth.masks > 0.5
    columns = {"psnr_db": psnr_db(images, truth.images, inside), "iou": iou(masks > 0.5, inside)}
    with torch.no_grad():
        if instruments.perceptual is not None:
            columns["perceptual"] = perceptual_distance(instruments.perceptual, images, truth.images)
        if instruments.attributes is not None:
            ours, theirs = (instruments.attributes.read(seen) for seen in (images, truth.images))
            columns["identity"] = identity(ours, theirs)
    return [dict(zip(columns, row, strict=True)) for row in torch.stack(list(columns.values()), 1).tolist()]


def changes(instruments: Instruments, images: Float[Tensor, "N 3 S S"]) -> dict[str, float]:
    """How far heading (radians) and lx differ between the opposite poses of `poses_for`, as the regressor sees it, and
    as the attribute network does.
    """
    heading, lx, _ = instruments.regressor(images).unbind(1)
    found = {"heading": float(heading[0] - heading[1]), "lx": float(lx[3] - lx[2])}
    if instruments.attributes is not None:
        with torch.no_grad():
            read = instruments.attributes.read(images)
        turn = read.heading_rad[0] - read.heading_rad[1]
        found["heading_attributes"] = float(torch.atan2(turn.sin(), turn.cos()))
        found["lx_attributes"] = float(read.light[3, 2] - read.light[2, 2])
    return found


def round_trip(made: Reconstruction) -> dict[str, float]:
    """The picture at +YAW_DEG is taken for a new input, reconstructed and turned back: PSNR against the first input,
    inside its object.

    Effect-3D starts from the render, and the latent that effect-GAN found serves as its inversion.
    """
    there, back = Pose(yaw_deg=YAW_DEG), Pose(yaw_deg=-YAW_DEG)
    first = project_poses(made, render_poses(made, [there]), [there])
    rendered = first.rendered
    starts = {
        "effect-3D": Observation(rendered.image, rendered.mask, first.latents, is_inverted=True),
        "effect-GAN": Observation(first.images, first.masks, first.latents),
    }
    scores = {}
    for way, observation in starts.items():
        second = with_read_light(reconstruct(observation, made.generator, made.config))
        again = render_poses(second, [back])
        images = again.image if way == "effect-3D" else project_poses(second, again, [back]).images
        scores[way] = psnr_db(images, made.observation.image, made.observation.mask > 0.5).item()
    return scores


def milliseconds(made: Reconstruction) -> dict[str, float]:
    """Wall time of one edit, without opening the run: rendered, through E, and with the steps of refinement."""
    poses = [Pose(yaw_deg=1.0 + i) for i in range(N_TIMED + 1)]
    own_of(made)
    ways = {
        "effect-3D": lambda pose: render_poses(made, [pose]),
        "effect-GAN, E alone": lambda pose: project_poses(made, render_poses(made, [pose]), [pose], n_refine=0),
        "effect-GAN": lambda pose: project_poses(made, render_poses(made, [pose]), [pose]),
    }
    spent = {}
    for name, way in ways.items():
        way(poses[0])
        began = time.perf_counter()
        for pose in poses[1:]:
            way(pose)
        spent[name] = 1000 * (time.perf_counter() - began) / N_TIMED
    return spent


def run_edits(request: BenchRequest, split: str, folder: Path, report: Reporter = silent) -> list[dict]:
    """Rows over the first `request.count` objects of a split, one object after the other as it goes, resumable.

    Raises UserError for settings (or weights) that differ from the folder's, and for a generator that cannot be
    measured or has no image encoder.
    """
    category = exam_category(request)
    items = exam_objects(category, split, request.count or COUNT)
    opened, config = open_measured(replace(request, category=category))
    if opened.prior.encoder is None:
        raise UserError("Without an image encoder nothing projects an edit: measure a pack that has one.")
    items = [seen_at(item, config.render.resolution) for item in items]
    check_settings(folder, settings_of(request, config, category, split))
    done = read_objects(folder)
    if any(item.seed not in done for item in items):
        instruments = open_instruments(category, report)
        for i, item in enumerate(items):
            if item.seed not in done:
                done[item.seed] = measure_object(item, opened, config, instruments, report)
                append_lines(folder / OBJECTS_NAME, [{"seed": item.seed, **done[item.seed]}])
            report("objects", i + 1, len(items))
    rows = edit_rows([done[item.seed] for item in items], category, split)
    write_text_atomic(folder / "rows.json", to_json(rows, indent=1))
    return rows


def open_instruments(category: str, report: Reporter) -> Instruments:
    """The regressor of a pack's card, and the perceptual and attribute networks where they are there."""
    pairs = render_pairs(category, REGRESSOR_FIRST_SEED, REGRESSOR_OBJECTS)
    found = Instruments(train_regressor(pairs, REGRESSOR_STEPS, report))
    for name, load in (("perceptual", load_perceptual), ("attributes", lambda: bundled_attributes(category))):
        try:
            found = replace(found, **{name: load()})
        except UserError as error:
            say(f"Not measured: {name}. {error}")
    return found
