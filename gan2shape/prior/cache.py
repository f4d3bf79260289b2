"""What `gan2shape prior` estimates for a checkpoint, saved under the hash of the checkpoint's contents. A renamed or
moved file is recognised, a retrained one is not.

The files lie beside the checkpoint or, where that folder cannot be written, in the user's cache (GAN2SHAPE_CACHE names
another folder). There are two: the mask head's weights (safetensors, no code) and a JSON page for people.

The user's cache also notes where files were seen, by their hash: what is sent to people names them without folders.
"""

import hashlib
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gan2shape.checkpoints.open import PACK_NAME
from gan2shape.core.errors import UserError
from gan2shape.core.files import write_bytes_atomic, write_text_atomic
from gan2shape.prior.ranges import measured_overrides

CACHE_FORMAT = "gan2shape-estimated-prior-1"
STEM = "gan2shape-prior-"  # then the hash
HASH_DIGITS = 16
PREFIX = "mask/"  # of the head's weights
SEEN_STEM = "gan2shape-seen-"  # then the hash, .json: a note where such a file was


@dataclass(frozen=True)
class EstimatedPrior:
    """What is saved."""

    head_settings: dict[str, Any]  # of the mask head
    head_state: dict[str, Tensor]
    category: str | None  # whose views, lights and depth scale were chosen; None: the typed defaults
    page: dict[str, Any] = field(default_factory=dict)  # metrics and sentences for people, and the ranges

    @property
    def overrides(self) -> tuple[str, ...]:
        """Ranges that were measured, as `key=value` of the configuration; none in the files of earlier versions."""
        return measured_overrides(self.page.get("ranges", {}))


def content_hash(path: Path) -> str:
    """First digits of the SHA-256 of a checkpoint (of a pack's folder: of its weights). UserError if unreadable."""
    path = Path(path)
    try:
        with (path / PACK_NAME if path.is_dir() else path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:HASH_DIGITS]
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise UserError(f"{path} cannot be read ({cause}): check the path.") from error


def user_cache() -> Path:
    """The folder for caches of this user, by the system's custom."""
    if "GAN2SHAPE_CACHE" in os.environ:
        return Path(os.environ["GAN2SHAPE_CACHE"])
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "gan2shape"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gan2shape"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gan2shape"


def cache_folders(path: Path) -> list[Path]:
    """Where the estimate for a checkpoint may be, best first."""
    path = Path(path)
    return [path if path.is_dir() else path.parent, user_cache()]


def cache_name(path: Path, class_index: int | None, stem: str = STEM) -> str:
    """Name of the files, without a suffix. Each class of a conditional network has its own; the first is the rule."""
    return stem + content_hash(path) + (f"-class{class_index}" if class_index else "")


def note_place(path: Path, digest: str) -> None:
    """Note in the user's cache where a file of these contents lies; nothing happens where that cannot be written."""
    with suppress(OSError):
        note = user_cache() / f"{SEEN_STEM}{digest}.json"
        write_text_atomic(note, json.dumps({"path": Path(path).absolute().as_posix()}) + "\n")


def noted_place(digest: str) -> Path | None:
    """Where this user had a file of these contents, as far as is known; it may have gone or changed."""
    try:
        page = json.loads((user_cache() / f"{SEEN_STEM}{digest}.json").read_text(encoding="utf-8"))
        return Path(page["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_estimated(
    path: Path, device: torch.device | str = "cpu", class_index: int | None = None
) -> EstimatedPrior | None:
    """What was estimated for this checkpoint earlier; None if nothing was. Raises UserError for damaged files."""
    name = cache_name(path, class_index)
    for folder in cache_folders(path):
        weights = folder / f"{name}.safetensors"
        if weights.is_file():
            return _read(weights, device)
    return None


def _read(weights: Path, device: torch.device | str) -> EstimatedPrior:
    try:
        with safe_open(weights, framework="pt", device=str(device)) as stored:
            notes = stored.metadata() or {}
            state = {name.removeprefix(PREFIX): stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        if notes.get("format") != CACHE_FORMAT:
            raise ValueError("another format")
        page = json.loads(notes["page"])
        estimated = EstimatedPrior(json.loads(notes["head"]), state, page["category"], page)
        _ = estimated.overrides  # damage shows here
        return estimated
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{weights} is damaged: delete it and run `gan2shape prior` again.") from error


def keep_estimated(path: Path, estimated: EstimatedPrior, class_index: int | None = None) -> Path:
    """Write beside the checkpoint or, where that is impossible, into the user's cache; returns the weights' path.

    Raises UserError where neither can be written.
    """
    name = cache_name(path, class_index)
    state = {PREFIX + key: value.detach().cpu().contiguous().clone() for key, value in estimated.head_state.items()}
    notes = {
        "format": CACHE_FORMAT,
        "head": json.dumps(estimated.head_settings),
        "page": json.dumps({**estimated.page, "category": estimated.category}),
    }
    cause: OSError | None = None
    for folder in cache_folders(path):
        try:
            weights = write_bytes_atomic(folder / f"{name}.safetensors", save(state, notes))
            write_text_atomic(folder / f"{name}.json", json.dumps(json.loads(notes["page"]), indent=1) + "\n")
            return weights
        except OSError as error:
            cause = error
    raise UserError(
        f"Neither the checkpoint's folder nor {user_cache()} can be written: set GAN2SHAPE_CACHE to a folder that can."
    ) from cause
