"""A folder of a user's photos as training images: square, of one size, in shards (`train.dataset`).

A photo without a mask loses its longer ends (centre crop). One with a mask, in a folder of masks or as alpha channel,
is cut so that its object has always the same size and place, and its surroundings become grey: a small generator then
spends nothing on them. Runs frame photos in the same way (`export.framing`). A file that cannot be used is passed over,
with the reason.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_atomic, write_text_atomic
from gan2shape.core.images import to_uint8
from gan2shape.core.many import find_images, masks_in
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.records import UsualFrame
from gan2shape.export.framing import framed
from gan2shape.export.inputs import default_framing, read_picture, seen_in
from gan2shape.synth.dataset import SHARDS_NAME
from gan2shape.train.dataset import SHARD_PATTERN

SHARD = 1000  # images in a file
FRAME = UsualFrame(  # of objects with a mask
    size=(0.68, 0.7, 0.72), centre=(0.5, 0.5), shift=0.02, background=(0.0, 0.0, 0.0), background_spread=0.02
)


@dataclass(frozen=True)
class PhotoSet:
    """What became of a folder of photos."""

    folder: Path  # of the shards
    n_images: int
    n_masked: int  # cut out by their masks
    n_enlarged: int  # whose square has fewer pixels than are wanted
    failures: dict[str, str] = field(default_factory=dict)  # name of the file -> why it is not used


def shards_of_photos(
    source: Path, folder: Path, size: int, masks: Path | None = None, report: Reporter = silent
) -> PhotoSet:
    """Read every picture of `source` and write shards of `size` x `size` pixels into `folder`. Shards of the same
    photos that are there already are kept; those of an interrupted call are made anew.

    masks: a folder of masks named as the photos; a photo without one is not used then.
    Raises UserError where no picture can be used, and for a folder with shards of other images.
    """
    photos, named = files_of(source, masks)
    stamp = {"photos": _listing(photos, named), "size": size}
    path = folder / SHARDS_NAME
    if path.is_file():
        return _known(folder, stamp)
    for old in folder.glob(SHARD_PATTERN):
        old.unlink()
    images: list[UInt8[np.ndarray, "S S 3"]] = []
    failures: dict[str, str] = {}
    n_images = n_masked = n_enlarged = n_shards = 0
    for i, photo in enumerate(photos):
        try:
            if masks is not None and photo.stem not in named:
                raise UserError(f"{photo.name} has no mask in {masks}.")
            image, is_masked, is_enlarged = read_photo(photo, size, named.get(photo.stem))
        except UserError as error:
            failures[photo.name] = str(error)
            continue
        images.append(image)
        n_images, n_masked, n_enlarged = n_images + 1, n_masked + is_masked, n_enlarged + is_enlarged
        if len(images) == SHARD:
            n_shards = _write_shard(folder, n_shards, images)
        report("photos", i + 1, len(photos))
    if n_images == 0:
        first = next(iter(failures.values()))
        raise UserError(f"None of the {len(photos)} pictures in {source} can be used; the first: {first}")
    if images:
        _write_shard(folder, n_shards, images)
    found = PhotoSet(folder, n_images, n_masked, n_enlarged, failures)
    counts = {"n_images": n_images, "n_masked": n_masked, "n_enlarged": n_enlarged, "failures": failures}
    write_text_atomic(path, json.dumps({**stamp, **counts}, indent=1))
    return found


def files_of(source: Path, masks: Path | None) -> tuple[list[Path], dict[str, Path]]:
    """The pictures of a folder, and masks by the stem of their names. Raises UserError where there are none."""
    try:
        return find_images([source]), {} if masks is None else masks_in(masks)
    except UserError as error:
        sentence = str(error).replace("--image ", "--images ", 1).replace("--mask ", "--masks ", 1)
        raise UserError(sentence) from error


def read_photo(path: Path, size: int, mask: Path | None = None) -> tuple[UInt8[np.ndarray, "S S 3"], bool, bool]:
    """(the picture as a training image, whether a mask has cut it out, whether it had to grow).

    Raises UserError for a file that cannot be used.
    """
    picture = read_picture(path, size, mask)
    is_masked = picture.cover is not None
    found = framed(picture, FRAME, size) if is_masked else seen_in(picture, default_framing(picture), size)
    return to_uint8(found.image)[0], is_masked, found.framing.size < size


def _write_shard(folder: Path, number: int, images: list[np.ndarray]) -> int:
    """Write and forget these images; returns the next shard's number."""
    stacked = np.stack(images)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:  # a path would get ".npy" appended
            np.save(stream, stacked, allow_pickle=False)

    write_atomic(folder / SHARD_PATTERN.replace("*", f"{number:05d}"), save)
    images.clear()
    return number + 1


def _listing(photos: list[Path], masks: dict[str, Path]) -> str:
    """A hash of which files there are, how long and how old: the same files are not read again."""
    digest = hashlib.sha256()
    for path in (*photos, *(masks[name] for name in sorted(masks))):
        about = path.stat()
        digest.update(f"{path.name} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _known(folder: Path, stamp: dict) -> PhotoSet:
    """The shards that are there. Raises UserError where they are of other photos."""
    path = folder / SHARDS_NAME
    try:
        page = json.loads(path.read_text(encoding="utf-8"))
        if {name: page.get(name) for name in stamp} == stamp:
            return PhotoSet(folder, page["n_images"], page["n_masked"], page["n_enlarged"], dict(page["failures"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{folder} holds images of other photos, or of another size: delete it, or choose another --out.")


def photo_lines(found: PhotoSet, n_shown: int = 3) -> list[str]:
    """What became of the photos, for people."""
    lines = [f"{found.n_images} photos can be used, {found.n_masked} of them cut out by a mask."]
    if found.n_enlarged:
        lines.append(f"{found.n_enlarged} of them are smaller than the training images and were enlarged.")
    if found.failures:
        lines.append(f"{len(found.failures)} files cannot be used:")
        lines += [f"  {name}: {why}" for name, why in list(found.failures.items())[:n_shown]]
        lines += ["  …"] if len(found.failures) > n_shown else []
    return lines
