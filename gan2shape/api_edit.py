"""Editing and rendering of finished runs: requests in, files out. `api` makes the runs that this begins with."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.api import opened
from gan2shape.api import run as run_request
from gan2shape.core.config import ShapeConfig
from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_text_atomic
from gan2shape.core.locks import locked
from gan2shape.core.many import JOURNAL_NAME, is_finished, request_behind
from gan2shape.core.progress import Reporter, say, silent
from gan2shape.core.requests import REQUEST_NAME, RunRequest, RunResult
from gan2shape.core.resources import pack_dir
from gan2shape.edit import sliders
from gan2shape.edit.animate import write_animations
from gan2shape.edit.controls import Pose, layers_of, light_from, poses_of
from gan2shape.edit.directions import find_directions, named
from gan2shape.edit.effects import N_REFINE, effect_of, pose_like
from gan2shape.edit.latents import added, towards, with_offset
from gan2shape.edit.record import EDIT_NAME, MODES, EditRecord, read_edit, write_edit
from gan2shape.edit.script_pair import read_tokens, script_asking
from gan2shape.edit.text import LOCALITY, asking, open_text_pair, sentence_of, text_offset
from gan2shape.edit.vocabulary import tokens_of
from gan2shape.export.animation import require_writer
from gan2shape.export.inputs import read_image
from gan2shape.prior.cache import content_hash
from gan2shape.prior.made import weights_hash
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.prior.whereabouts import located
from gan2shape.shape.read_light import with_read_light
from gan2shape.shape.reconstruct import Reconstruction
from gan2shape.shape.reopen import reopen

if TYPE_CHECKING:
    from gan2shape.bench.requests import BenchRequest

SOURCE_NAME = "source"  # the run of an edit that began with an image
SAME_WEIGHTS = 1e-4  # difference of two generators' mean latents up to which they count as one


@dataclass(frozen=True)
class EditRequest:
    """One edit. What is None or 0 stays as it is; angles add to those of an earlier edit."""

    source: Path  # folder of a run or of an edit, or an image, which is reconstructed first
    out: Path
    mode: str = "both"  # 3d, gan or both
    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    light_from: str | None = None  # left, right, above, below, front or "lx,ly"
    light_frame: str = "canonical"  # or "camera": the direction is meant in the new view
    ambient: float | None = None
    diffuse: float | None = None
    like: Path | None = None  # a picture or a run whose view and light are taken
    take: str = "both"  # view, light or both, of `like`
    towards: Path | None = None  # a run whose latent is approached
    amount: float = 0.5  # how far
    layers: str | None = None  # in which rows of W+: "4-8"; all unless given
    sliders: Path | None = None  # file of `find_sliders`
    settings: tuple[str, ...] = ()  # NAME=VALUE of its sliders
    text: str | None = None  # what the picture should become, in the words of a toy pair (edit/text.py)
    words: tuple[str, ...] = ()  # the same as NAME=VALUE: colour=red, body=pickup
    pair: Path | None = None  # file of `gan2shape train-text`; beside the category's pack unless given
    networks: tuple[Path, ...] = ()  # TorchScript files for pictures and for sentences, in its place (CODE, which runs)
    tokens: Path | None = None  # of the sentence, for these: a .npy file
    vocabulary: Path | None = None  # by which `text` becomes tokens for these, instead
    locality: float = LOCALITY  # of `text`: greater is nearer to the picture as it was
    animate: str | None = None  # "yaw=-40:40" or "light=circle"
    n_frames: int = 24
    fps: int = 12
    video: bool = False  # MP4 instead of GIF
    n_refine: int = N_REFINE  # Adam steps on an edited latent
    category: str | None = None  # of an image; car unless given
    mask: Path | None = None  # of an image
    preset: str = "draft"  # of an image
    device: str = "auto"


@dataclass(frozen=True)
class Source:
    """What an edit begins with."""

    folder: Path  # of the run
    made: Reconstruction
    weights: str  # hash of the generator's file
    pose: Pose = field(default_factory=Pose)  # of an earlier edit
    offset: Float[Tensor, "1 *L D"] | None = None  # of earlier edits of the latent
    latent_edits: tuple[dict, ...] = ()


def edit(request: EditRequest, report: Reporter = silent) -> RunResult:
    """Edit a run, an edit or an image; write pictures, the edited latent and `edit.json`.

    Raises UserError for what cannot be used, and where the folder holds the run itself or another run works there.
    """
    began = time.perf_counter()
    _check(request)
    with locked(request.out):
        source = open_source(request, report)
        made, pose = source.made, _asked(request, source)
        offset, latent_edits = _latent_edits(request, source, report)
        ways = MODES[:2] if request.mode == "both" else (request.mode,)
        if "gan" in ways:
            require_projector(made)
        effect = effect_of(made, pose, offset, request.n_refine)
        record = EditRecord(
            _relative(source.folder, request.out),
            made.config.category,
            request.mode,
            pose,
            latent_edits,
            source.weights,
        )
        own = made.scene.light
        notes = (*made.warnings, *_notes(request, offset))
        files = {}
        if request.animate:
            poses = poses_of(request.animate, pose, request.n_frames)
            options = (request.n_refine, request.fps, ".mp4" if request.video else ".gif")
            files = write_animations(request.out, made, poses, offset, ways, *options, report)
        shown = (made.observation.image, effect, offset, pose.view(own), pose.light(own))
        is_new = not (request.animate and pose.is_input and offset is None)  # else the pictures are the input
        files |= write_edit(request.out, record, *shown, notes, with_pictures=is_new)
    for note in notes:
        say(note)
    metrics = {"yaw_deg": pose.yaw_deg, "pitch_deg": pose.pitch_deg, "roll_deg": pose.roll_deg}
    return RunResult(request.out, files, metrics, time.perf_counter() - began, notes)


def open_run(folder: Path, device: str = "auto") -> Reconstruction:
    """A finished run, with its generator, under the light that edits begin with (`shape.read_light`).

    Raises UserError for a folder that holds none, or one of another version.
    """
    request = _request_behind(folder, device)
    generator, config = opened(request)
    return with_read_light(reopen(Path(folder), generator, config, is_inverted=request.image is not None))


def open_source(request: EditRequest, report: Reporter = silent) -> Source:
    """The run behind a run's folder, an edit's folder, or an image, which is reconstructed into `out`/source.

    Raises UserError where there is none.
    """
    path = Path(request.source)
    if path.is_file():
        folder = request.out / SOURCE_NAME
        category = request.category or ShapeConfig.category
        asked = {"category": category, "image": path, "mask": request.mask, "device": request.device}
        run_request(RunRequest(**asked, preset=request.preset, out=folder), report)
        return _opened_source(folder, request.device)
    if request.category or request.mask:
        raise UserError("--category and --mask belong to an image: a run has its own, leave them away.")
    if not (path / EDIT_NAME).is_file():
        if not (is_finished(path) or (path / REQUEST_NAME).is_file() or (path / JOURNAL_NAME).is_file()):
            raise UserError(f"{path} is neither a run's folder nor an edit's nor an image: check the path.")
        return _opened_source(path, request.device)
    record, offset = read_edit(path)
    folder = path / record.source
    if not folder.is_dir():
        raise UserError(f"The run behind the edit {path} is not at {folder} any more: move it back there.")
    found = _opened_source(folder, request.device)
    if found.weights != record.weights:
        raise UserError(f"The edit {path} was made with other weights than are there now: make it again.")
    device = found.made.scene.depth.device
    offset = None if offset is None else offset.to(device)
    return replace(found, pose=record.pose, offset=offset, latent_edits=record.latent_edits)


def _request_behind(folder: Path, device: str) -> RunRequest:
    """The request of a run, with the path of its own generator. Raises UserError where there is none."""
    return located(request_behind(Path(folder), device))


def _opened_source(folder: Path, device: str) -> Source:
    request = _request_behind(folder, device)
    weights = weights_hash(request.generator or pack_dir(request.category), request.class_index)
    return Source(folder, open_run(folder, device), weights)


def require_projector(made: Reconstruction) -> None:
    """Raises UserError where neither the pack nor the run has learnt to project, so that nothing would change."""
    if made.generator.prior.encoder is None and not made.progress.n_done:
        raise UserError("This run learnt no projection, so its generator cannot follow: use --mode 3d, or n_stages=1.")


def find_sliders(
    source: Path | None,
    category: str | None,
    out: Path,
    layers: str | None = None,
    count: int = 8,
    device: str = "auto",
    report: Reporter = silent,
) -> tuple[Path, list[dict]]:
    """Write the directions of a run's generator (or of a category's) as sliders; (path, what each does).

    Raises UserError for layers that the generator has not, and as `open_prior` and `open_run`.
    """
    if source is not None:
        request = _request_behind(source, device)
        generator, config = opened(request)
        weights = weights_hash(request.generator or pack_dir(request.category), request.class_index)
    else:
        generator, config = open_prior(category, device=device)
        weights = content_hash(pack_dir(config.category))
    n_layers, networks = generator.prior.generator.n_layers, pretrained_networks(generator.prior, config)
    directions = []
    for i, direction in enumerate(find_directions(generator, layers_of(layers, n_layers), count)):
        directions.append(named(direction, generator, networks, n_layers))
        report("directions", i + 1, count)
    page = sliders.to_page(directions, config.category, weights)
    rows = [{"slider": one["name"], **one["changes"]} for one in page["sliders"]]
    return write_text_atomic(out, to_json(page, indent=1) + "\n"), rows


def bench_edit(request: "BenchRequest", split: str, out: Path, report: Reporter = silent) -> list[dict]:
    """Rows of edits against true renders on the frozen exam. Raises UserError as `run_edits` does."""
    from gan2shape.bench.edits import run_edits

    return run_edits(request, split, out, report)


def _check(request: EditRequest) -> None:
    """What can be refused before anything is opened."""
    for name, value, known in (
        ("--mode", request.mode, MODES),
        ("--take", request.take, ("view", "light", "both")),
        ("--light-frame", request.light_frame, ("canonical", "camera")),
    ):
        if value not in known:
            raise UserError(f"Unknown {name} {value!r}: write {', '.join(known)}.")
    if request.settings and request.sliders is None:
        raise UserError("--slide belongs to --sliders: give both; `gan2shape directions` makes such a file.")
    if sum(map(bool, (request.text, request.words, request.tokens))) > 1:
        raise UserError("--text, --set and --tokens say the same in several ways: give one of them.")
    if request.pair is not None and not (request.text or request.words):
        raise UserError("--pair belongs to --text or --set: give one of them.")
    has_tokens = request.tokens is not None or (request.vocabulary is not None and bool(request.text))
    if has_tokens != (len(request.networks) == 2) or len(request.networks) not in (0, 2):
        raise UserError(
            "--network is given twice, for pictures and for sentences, and goes with --tokens, or with --text and "
            "--vocabulary."
        )
    if (request.sliders or request.towards or _says(request)) and request.mode == "3d":
        raise UserError("Edits of the latent show through the GAN only: leave --mode away, or write --mode gan.")
    if request.layers and not request.towards:
        raise UserError("--layers belongs to --towards: give both.")
    if request.animate:
        poses_of(request.animate, Pose(), 2)
        require_writer(".mp4" if request.video else ".gif")
    if request.light_from is not None:
        light_from(request.light_from)
    out = Path(request.out)
    if (out / REQUEST_NAME).exists() or is_finished(out):
        raise UserError(f"{out} holds a run: choose another folder with --out.")
    for name in ("like", "towards", "mask", "sliders", "pair", "tokens"):  # before an image is reconstructed
        path = getattr(request, name)
        if path is not None and not Path(path).exists():
            raise UserError(f"--{name} {path} does not exist: check the path.")
    inputs = (request.source, request.like, request.mask, request.sliders, request.pair, request.tokens)
    inputs += (request.vocabulary, *request.networks)
    for path in (Path(one) for one in inputs if one is not None and Path(one).is_file()):
        if path.resolve().parent in (out.resolve(), (out / SOURCE_NAME).resolve()):
            raise UserError(f"{path} lies where the edit would be written: choose another folder with --out.")


def _asked(request: EditRequest, source: Source) -> Pose:
    """The pose in total: that of an earlier edit, then another picture's, then what is given in numbers."""
    pose = source.pose
    if request.like is not None:
        view, light = _pose_of(request.like, source, request.device)
        if request.take != "light":
            pose = replace(pose, yaw_deg=view.yaw_deg, pitch_deg=view.pitch_deg, roll_deg=0.0)
        if request.take != "view":  # the light that the other picture's camera sees
            there = replace(pose, direction=light.direction).with_camera_light()
            pose = pose.added(replace(light, direction=there.direction))
    angles = {"yaw_deg": request.yaw_deg, "pitch_deg": request.pitch_deg, "roll_deg": request.roll_deg}
    direction = None if request.light_from is None else light_from(request.light_from)
    asked = Pose(direction=direction, ambient=request.ambient, diffuse=request.diffuse)
    turned = pose.added(Pose(**angles))
    if request.light_frame == "camera":
        asked = replace(asked, direction=replace(turned, direction=direction).with_camera_light().direction)
    return turned.added(asked)


def _pose_of(path: Path, source: Source, device: str) -> tuple[Pose, Pose]:
    """(view, light) of a picture or of a run, against the source's input."""
    own = source.made.observation.image
    if Path(path).is_dir():
        other = open_run(path, device)
        require_same_generator(source.made.generator, other.generator, path)
        return pose_like(source.made, other.observation.image.to(own.device), other.scene.light.to(own.device))
    picture = read_image(path, own.shape[-1])
    return pose_like(source.made, picture.image.to(own.device))


def _latent_edits(
    request: EditRequest, source: Source, report: Reporter
) -> tuple[Float[Tensor, "1 *L D"] | None, tuple[dict, ...]]:
    """(offset of the latent in total, what it consists of)."""
    made, offset, noted = source.made, source.offset, source.latent_edits
    n_layers, own = made.generator.prior.generator.n_layers, made.observation.latent
    if request.towards is not None:
        other = open_run(request.towards, request.device)
        require_same_generator(made.generator, other.generator, request.towards)
        layers = layers_of(request.layers, n_layers)
        offset = added(offset, towards(own, other.observation.latent.to(own.device), request.amount, layers, n_layers))
        noted += ({"kind": "towards", "run": request.towards.name, "amount": request.amount, "layers": layers},)
    if request.sliders is not None:
        chosen = sliders.read_sliders(request.sliders, source.weights, request.settings)
        change = sliders.offset_of(chosen, n_layers, own.device)
        offset = offset if change is None else added(offset, change)
        noted += tuple({"kind": "slider", "name": name, "value": value} for name, value, _ in chosen)
    if _says(request):
        text, asks = _asked_in_words(request, made.generator.prior)
        start = own if offset is None else with_offset(own, offset)
        offset = added(offset, text_offset(asks, start, made.generator.prior, request.locality, report=report))
        noted += ({"kind": "text", "text": text, "locality": request.locality},)
    return offset, noted


def _says(request: EditRequest) -> bool:
    return bool(request.text or request.words or request.tokens)


def _asked_in_words(request: EditRequest, prior: Prior) -> tuple[str, Callable[[Tensor], Tensor]]:
    """(the sentence, pictures -> how far each is from it)."""
    if request.networks:
        by_words = request.tokens is None
        tokens = tokens_of(request.text, request.vocabulary) if by_words else read_tokens(request.tokens)
        said = request.text if by_words else request.tokens.name
        return said, script_asking(*request.networks, tokens, prior.w_mean.device)
    text = request.text or sentence_of(request.words)
    return text, asking(text, open_text_pair(request.pair, prior))


def require_same_generator(own: MaskedGenerator, other: MaskedGenerator, path: Path) -> None:
    """Raises UserError where two runs' latents do not mean the same."""
    first, second = own.prior.w_mean.cpu(), other.prior.w_mean.cpu()
    if first.shape != second.shape or not torch.allclose(first, second, atol=SAME_WEIGHTS):
        raise UserError(f"{path} was made with another generator: name a run of the same one.")


def _notes(request: EditRequest, offset: Tensor | None) -> tuple[str, ...]:
    if offset is None or request.mode == "gan":
        return ()
    return ("Edits of the latent show in effect-GAN only; effect-3D is the object of the input.",)


def _relative(folder: Path, start: Path) -> str:
    """The way from one folder to another, so that both can be moved together."""
    try:
        return Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()
    except ValueError:  # on another drive
        return folder.resolve().as_posix()
