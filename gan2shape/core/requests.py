"""Request and result of the main job. Plain paths and numbers: importing this is instant."""

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from gan2shape.core.errors import UserError

REQUEST_NAME = "request.json"  # the request, beside the files of a run, for `--resume`
JOB_NAME = "job.json"  # of a job of many images: its request, without images (core/many.py)
PATH_FIELDS = ("image", "mask", "hole", "latent", "out", "resume", "generator", "features")
LOCATED = ("--generator", "--features")  # files of a run that may lie elsewhere when it is resumed
MUST_EXIST = ("--generator",)  # a pack is a folder
MUST_BE_FILES = ("--image", "--latent", "--mask", "--hole")
INPUT_FIELDS = ("image", "mask", "hole", "latent", "generator", "features")  # paths of a request that a run only reads
AUTO_MASK = Path("auto")  # of --mask: the object is to be found
PICTURES = ("input", "recon", "depth", "normal", "albedo", "shading", "mask")
STRIPS = ("rotate_3d", "rotate_gan", "relight_3d", "relight_gan")
OUTPUT_NAMES = (  # every file that a run writes into its folder
    "mesh.glb", "mesh_lit.glb", *(f"{name}.png" for name in PICTURES), *(f"strip_{name}.png" for name in STRIPS),
    "scene.npz", "scene.json", "config.yaml", "report.html", REQUEST_NAME, "state.safetensors",
)  # fmt: skip
OPTIONAL_NAMES = ("given.npz", "input_full.png", *(f"mesh.{suffix}" for suffix in ("obj", "mtl", "png", "ply", "stl")))
RESTORED_NAMES = ("restored.png", "given.png")  # of a run from a damaged image


@dataclass(frozen=True)
class RunRequest:
    """One run. At most one of `image`, `latent`, `seed` names the input; with none of them, seed 0 is sampled."""

    category: str | None  # names a YAML and a pack; None where a `generator` brings what it needs
    preset: str = "draft"  # names a YAML
    image: Path | None = None  # photo or render to explain
    mask: Path | None = None  # object mask of `image`, same size
    latent: Path | None = None  # .pt, .npy, .npz or .safetensors with one w or W+
    seed: int | None = None  # of the generator's sample
    device: str = "auto"  # auto, cpu, cuda, cuda:0, mps
    out: Path = Path("runs")  # folder of the files; it exists and is writable
    resume: Path | None = None  # an earlier run's folder: go on after its last finished step
    overrides: tuple[str, ...] = ()  # key=value of the typed configuration
    generator: Path | None = None  # a StyleGAN2 checkpoint in the place of the category's pack
    features: Path | None = None  # a TorchScript module (code!) that compares images
    class_index: int | None = None  # of a class-conditional `generator`
    auto_mask: bool = False  # find the object of an image without a mask in any case (shape/photos.py)
    degraded: str | None = None  # what the image went through: it is restored first (restoration/tasks.py; superres:4)
    hole: Path | None = None  # white where a degraded image is lost, same size
    hashes: dict[str, str] = field(default_factory=dict)  # of `generator` and `features` (prior/whereabouts.py)

    def to_json(self) -> str:
        """For `request.json`. Files are named without their folders: a run is sent to people. What a resumed run needs
        of them lies in its folder (shape/given.py), and generators are found by their hash.
        """
        plain = asdict(self) | {"out": None, "resume": None}
        for name in PATH_FIELDS:
            plain[name] = None if plain[name] is None else Path(os.path.abspath(plain[name])).name
        return json.dumps(plain, indent=1)


def resumed(
    folder: Path,
    device: str = "auto",
    overrides: tuple[str, ...] = (),
    name: str = REQUEST_NAME,
    files: dict[str, Path | None] | None = None,
) -> RunRequest:
    """The request of the run in `folder`, to be continued there. Further overrides come after the first ones.

    files: where the run's generator and feature network lie now (`generator`, `features`), if that was said.
    Raises UserError where there is no run, for one of an earlier version, and for a file that the run has not.
    """
    if name == REQUEST_NAME and (folder / JOB_NAME).is_file():
        raise UserError(f"{folder} holds a job of many images: give the command that began it again, and it goes on.")
    try:
        plain = json.loads((folder / name).read_text(encoding="utf-8"))
        plain.setdefault("hashes", {})  # runs of earlier versions named absolute paths
        plain = {spec.name: plain[spec.name] for spec in fields(RunRequest)}
        paths = {name: None if plain[name] is None else Path(plain[name]) for name in PATH_FIELDS}
        paths |= {"out": folder, "resume": folder}
        if paths["features"] is not None:  # code: it is never taken from where a stored file says that it lies
            paths["features"] = Path(paths["features"].name)
        first = RunRequest(**{**plain, **paths, "overrides": tuple(plain["overrides"])})
        if not (isinstance(first.seed, int | None) and isinstance(first.category, str | None)):
            raise TypeError("seed or category of another type")
        if not (isinstance(first.hashes, dict) and all(isinstance(one, str) for one in first.hashes.values())):
            raise TypeError("hashes of another type")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{folder} holds no run of this version: name a folder that `gan2shape run` has made, or start anew."
        ) from error
    named = {kind: path.absolute() for kind, path in (files or {}).items() if path is not None}
    for kind in named:
        if getattr(first, kind) is None:
            raise UserError(f"The run in {folder} has no --{kind} of its own: leave it away.")
    return replace(first, **named, device=device, overrides=(*first.overrides, *overrides))


def check_inputs(inputs: dict[str, Any], others: dict[str, Any], resume: Path | None) -> None:
    """Raise UserError for options that contradict each other or name files that are not there.

    inputs, others: values by the option's name, None where it was not given; of `inputs` one is enough.
    """
    given = [name for name, value in inputs.items() if value is not None]
    is_many = isinstance(inputs["--image"], tuple)  # then files are looked for later, and --mask is a folder
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other: give one input.")
    superfluous = [*given, *(name for name, value in others.items() if value is not None and name not in LOCATED)]
    if resume is not None and superfluous:
        raise UserError(
            "--resume takes everything but --device, key=value and where its --generator lies now from the earlier "
            f"run: leave {superfluous[0]} away."
        )
    needs_image = others["--generator"] is None or others["--mask"] == AUTO_MASK
    if others["--mask"] is not None and inputs["--image"] is None and needs_image:
        raise UserError("--mask belongs to an --image: give both.")
    if others.get("--degraded") is not None:
        if inputs["--image"] is None:
            raise UserError("--degraded belongs to an --image: give both.")
        if is_many:
            raise UserError("--degraded takes one --image: restore the others first, with `gan2shape restore`.")
        if others["--mask"] == AUTO_MASK:
            raise UserError("--mask auto finds no object in a degraded image: name a mask, or leave it away.")
    elif others.get("--hole") is not None:
        raise UserError("--hole belongs to --degraded inpaint: give both.")
    for name, path in {**inputs, **others}.items():
        if isinstance(path, Path) and address_of(path):
            raise UserError(f"{name} {address_of(path)} is an address, and nothing is downloaded: give a file's path.")
        if name in MUST_EXIST and isinstance(path, Path) and not path.exists():
            raise no_generator(path, others.get("--category"))
        is_kept = is_many or (name == "--mask" and path == AUTO_MASK)
        if name in MUST_BE_FILES and isinstance(path, Path) and not (path.is_file() or is_kept):
            raise UserError(f"{name} {path} is not a file: check the path.")


def require_inputs_kept(request: RunRequest) -> None:
    """Raises UserError where a file that the run would write is one of its inputs, under whatever path or link."""
    names = (*OUTPUT_NAMES, *OPTIONAL_NAMES, *(() if request.degraded is None else RESTORED_NAMES))
    for field_name in INPUT_FIELDS:
        path = getattr(request, field_name)
        if request.resume is not None and path is not None and not Path(path).is_absolute():
            continue  # of a stored request: a name, and no file that is read
        for output in () if path is None else (Path(request.out) / name for name in names):
            if output.exists() and Path(path).exists() and output.samefile(path):
                raise UserError(
                    f"--{field_name} {path} would be replaced by the run's own {output.name}: "
                    "choose another folder with --out."
                )


def no_generator(path: Path, category: str | None = None) -> UserError:
    """For a `--generator` that is not there."""
    make = f", or make a pack there with `gan2shape build {category or 'car'} --out {shlex.quote(path.as_posix())}`"
    return UserError(f"--generator {path} does not exist: check the path{'' if path.suffix else make}.")


def address_of(path: Path | str) -> str | None:
    """The address on the net that was given in the place of a path (whose slashes a `Path` merges), if it is one."""
    match = re.match(r"(https?|ftp|s3|gs|hf):/+", str(path))
    return f"{match[1]}://{str(path)[match.end() :]}" if match else None


@dataclass(frozen=True)
class RunResult:
    """What a job wrote and measured."""

    out_dir: Path  # where the files are
    files: dict[str, Path] = field(default_factory=dict)  # short name -> path
    metrics: dict[str, float] = field(default_factory=dict)  # measured numbers, units in the names
    seconds: float = 0.0  # wall time of the job
    notes: tuple[str, ...] = ()  # sentences for the reader
    verdict: str | None = None  # "inside", "edge" or "outside" of what the prior knows; the sentence is the first note

    def as_json(self) -> dict:
        """Plain types for `--json`: paths become strings with forward slashes."""
        plain = asdict(self)
        plain["out_dir"] = self.out_dir.as_posix()
        plain["files"] = {name: Path(path).as_posix() for name, path in self.files.items()}
        return plain


def refuse_options(settings: Sequence[str], options: Sequence[str] = ("kimg", "device")) -> None:
    """Raises UserError for settings that are options of the command: as settings they would be passed over."""
    for setting in settings:
        key, _, value = setting.partition("=")
        if key in options:
            raise UserError(f"{setting!r} is chosen by an option: write --{key} {value}.")
