"""Many images as one job: which files are meant, which folder each of them gets, and what is done already.

Plain paths and text: importing this is instant. The journal of a job has a line for each image that was tried, written
as soon as its files are there; of several lines for one folder the last one counts.
"""

import glob
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from gan2shape.core.errors import UserError
from gan2shape.core.files import read_lines
from gan2shape.core.requests import JOB_NAME, REQUEST_NAME, RunRequest, address_of, resumed

SUFFIXES = (  # of pictures in a folder; one that cannot be read is listed as failed
    ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".avif", ".heic", ".heif",
)  # fmt: skip
JOURNAL_NAME = "images.jsonl"
INDEX_NAME = "index.html"
SETTINGS_NAME = "config.yaml"  # of the last call
RESERVED = (JOURNAL_NAME, INDEX_NAME, SETTINGS_NAME, JOB_NAME)  # names in the job's folder that no image's folder takes
SCENE_NAME, INPUT_NAME = "scene.npz", "input.png"  # in the folder of each image
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # in names of files on Windows
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
MOST_LETTERS, MOST_BYTES = 120, 200  # of an image's folder: 255 bytes with the hash, on every system
HASH_DIGITS = 12
DONE, FAILED = "done", "failed"
SOME_FAILED = 3  # exit code: the job went through, and some of its images could not be used


@dataclass(frozen=True)
class ManyRequest:
    """One run for each image, all with the same settings."""

    run: RunRequest  # the settings; `out` is the job's folder, `image` and `mask` stay None
    images: tuple[Path, ...]
    masks: Path | None = None  # folder of masks named as the images, whatever their ending


@dataclass(frozen=True)
class ManyResult:
    """What became of a job's images."""

    out_dir: Path
    index: Path  # the page with all of them
    n_done: int  # in this call
    n_skipped: int  # done by an earlier call with the same settings
    failures: dict[str, str] = field(default_factory=dict)  # name of the image -> why
    seconds: float = 0.0

    def as_json(self) -> dict:
        """Plain types for `--json`."""
        return {**asdict(self), "out_dir": self.out_dir.as_posix(), "index": self.index.as_posix()}


@dataclass(frozen=True)
class Item:
    """One image of a job."""

    image: Path
    mask: Path | None
    folder: str  # name of its folder in the job's
    key: str  # of the picture, its mask and the settings: with another one, the image is done anew


def find_images(words: Sequence[Path]) -> list[Path]:
    """The pictures that files, folders and patterns (`photos/*.jpg`) name, each once, in order.

    Raises UserError for a word that names none.
    """
    found: dict[Path, Path] = {}
    for word in words:
        if address_of(word):
            raise UserError(f"--image {address_of(word)} is an address, and nothing is downloaded: give a file's path.")
        if word.is_file():
            paths = [word]
        elif word.is_dir():
            paths = sorted(p for p in word.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and _is_shown(p))
            if not paths:
                raise UserError(f"--image {word} is a folder without pictures ({', '.join(SUFFIXES)}): check the path.")
        else:
            paths = sorted(p for p in map(Path, glob.glob(str(word), recursive=True)) if p.is_file())
            if not paths:
                raise UserError(f"--image {word} is not a file, a folder or a pattern that fits files: check the path.")
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def is_one_file(words: Sequence[Path]) -> bool:
    """Whether a single picture is meant, which gets a run of its own."""
    return len(words) == 1 and not words[0].is_dir() and (words[0].is_file() or not glob.has_magic(str(words[0])))


def job_name(words: Sequence[Path]) -> str:
    """A name for the folder of a job: that of the folder which its first images come from."""
    first = words[0] if words[0].is_dir() else words[0].parent
    return first.resolve().name or "images"


def items_of(request: ManyRequest, settings: str) -> list[Item]:
    """The images with their masks, folders and keys. `settings`: what else decides what is written.

    A folder is named by the image's stem; where images share one, or it is no name for a folder, by a part of their
    contents' hash too, which does not depend on what else is in the job. Raises UserError for a folder of masks that is
    none or fits no image.
    """
    masks = {} if request.masks is None else masks_in(request.masks)
    if request.masks is not None and not any(path.stem in masks for path in request.images):
        raise UserError(f"--mask {request.masks} holds no mask named as an image: give each the image's own name.")
    stems = Counter(folder_name(path).casefold() for path in request.images)
    stems.update(name.casefold() for name in RESERVED)
    items: dict[str, Item] = {}  # by folder: a copy of an image with the same name is the same
    for path in request.images:
        mask, contents = masks.get(path.stem), digest(path)
        name = folder_name(path)
        folder = name if name == path.stem and stems[name.casefold()] == 1 else f"{name}-{contents}"
        parts = (contents, "" if mask is None else digest(mask), settings)
        items.setdefault(folder, Item(path, mask, folder, hashlib.sha256("\n".join(parts).encode()).hexdigest()))
    return list(items.values())


def folder_name(image: Path) -> str:
    """The image's stem as a folder of every system may be called: `...png` would lead out of the job's folder, Windows
    knows no `con` and no `a?`, and nobody a name of 300 letters.
    """
    name = FORBIDDEN.sub("_", image.stem)[:MOST_LETTERS].rstrip(". ")
    name = name.encode()[:MOST_BYTES].decode(errors="ignore")
    return f"_{name}" if not name or name.partition(".")[0].casefold() in DEVICES else name


def require_own(folder: Path) -> None:
    """Raises UserError for a folder whose page or settings some other work has written: they would be replaced."""
    theirs = [name for name in (INDEX_NAME, SETTINGS_NAME) if (folder / name).exists()]
    if theirs and not (folder / JOURNAL_NAME).is_file():
        raise UserError(
            f"{folder} holds another {theirs[0]}, which would be replaced: choose another folder with --out."
        )


def is_finished(folder: Path) -> bool:
    """Whether a finished run lies in `folder`, or an image that a job of many has finished."""
    return (folder / SCENE_NAME).is_file() and ((folder / REQUEST_NAME).is_file() or _job_of(folder) is not None)


def request_behind(folder: Path, device: str = "auto") -> RunRequest:
    """The request of a run, or of the job of many images that a folder belongs to.

    Raises UserError where there is none, and for one of an earlier version.
    """
    if (folder / JOURNAL_NAME).is_file():
        raise UserError(f"{folder} holds a job of many images: name the folder of one of them.")
    job = _job_of(folder)
    if (folder / REQUEST_NAME).is_file() or not (folder / SCENE_NAME).is_file():
        return resumed(folder, device)
    if job is None:
        raise UserError(
            f"{folder} has lost the job that it belongs to: put it back beside {JOB_NAME}, or run `gan2shape run "
            "--image` on its input.png."
        )
    return replace(resumed(job, device, name=JOB_NAME), image=folder / INPUT_NAME)


def _job_of(folder: Path) -> Path | None:
    """The folder of the job of many images that made this one."""
    job = folder.resolve().parent
    return job if (job / JOB_NAME).is_file() else None


def masks_in(folder: Path) -> dict[str, Path]:
    """The masks of a folder by stem. Raises UserError where it is none, or two masks have one stem."""
    if not folder.is_dir():
        raise UserError(f"--mask {folder} is not a folder: for many images, name one that holds masks of equal names.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and path.is_file() and _is_shown(path):
            if path.stem in found:
                raise UserError(
                    f"--mask {folder} holds {found[path.stem].name} and {path.name}: leave one for an image."
                )
            found[path.stem] = path
    return found


def digest(path: Path) -> str:
    """First digits of the SHA-256 of a file; of nothing where it cannot be read, which its run will say."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:HASH_DIGITS]
    except OSError:
        return hashlib.sha256().hexdigest()[:HASH_DIGITS]


def done_row(item: Item, seconds: float, notes: tuple[str, ...], numbers: dict[str, float]) -> dict:
    """The journal's line for an image whose files are there."""
    row = {"image": item.image.name, "folder": item.folder, "key": item.key, "status": DONE, "seconds": seconds}
    return {**row, "notes": list(notes), "metrics": numbers}


def failed_row(item: Item, error: UserError) -> dict:
    """The journal's line for an image that could not be used."""
    reason = str(error)
    for path in filter(None, (item.image, item.mask)):  # where a user's files lie is not the page's matter
        reason = reason.replace(str(path), path.name)
    row = {"image": item.image.name, "folder": item.folder, "key": item.key, "status": FAILED}
    return {**row, "error": reason, "notes": []}


def read_journal(folder: Path) -> dict[str, dict]:
    """The last row of each image's folder."""
    return {row["folder"]: row for row in read_lines(folder / JOURNAL_NAME) if isinstance(row.get("folder"), str)}
