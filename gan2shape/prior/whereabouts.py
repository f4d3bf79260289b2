"""Where a run's own files lie: a custom generator and its feature network, found again by their contents.

A run's folder is sent to people, so it names such a file by its name and hash. Where this user had it is noted in the
user's cache (`prior.cache.user_cache`), in a small file of its own for each hash.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

from gan2shape.core.errors import UserError
from gan2shape.core.requests import RunRequest
from gan2shape.prior.cache import HASH_DIGITS, content_hash, note_place, noted_place
from gan2shape.prior.made import PARTS_NAME, is_made, read_made

KINDS = ("generator", "features")  # fields of a request, and options of `gan2shape run`


def digest_of(path: Path) -> str:
    """Hash of the contents of a checkpoint, a script, or a pack's folder. Raises UserError where it cannot be read."""
    if not is_made(path):
        return content_hash(path)
    parts = f"{read_made(path).digest}-{content_hash(Path(path) / PARTS_NAME)}"
    return hashlib.sha256(parts.encode()).hexdigest()[:HASH_DIGITS]


def noted(request: RunRequest) -> RunRequest:
    """The request with the hashes of its files, and a note for this user where they lie."""
    paths = {kind: getattr(request, kind) for kind in KINDS}
    known = {kind: request.hashes.get(kind) or digest_of(path) for kind, path in paths.items() if path is not None}
    for kind, digest in known.items():
        note_place(paths[kind], digest)
    return replace(request, hashes=known)


def located(request: RunRequest) -> RunRequest:
    """A stored request with the paths of its files, as they are here and now. One that is no stored request stays.

    Raises UserError where a file is not found, or the one that is named is another one.
    """
    if request.resume is None:
        return request
    return replace(request, **{kind: _found(request, kind) for kind in KINDS if getattr(request, kind) is not None})


def _found(request: RunRequest, kind: str) -> Path:
    path, digest, folder = getattr(request, kind), request.hashes.get(kind), Path(request.resume)
    if path.is_absolute():  # named anew
        if digest is not None and digest_of(path) != digest:
            raise UserError(f"--{kind} {path} has other contents than that of the run in {folder}: give the same file.")
        return path
    places = [noted_place(digest or "")]
    if kind != "features":  # they are code: only a file that this user has named earlier is taken
        places += [path.absolute(), folder.absolute() / path, folder.absolute().parent / path]
    for place in places if digest is not None else ():
        if place is not None and place.exists() and digest_of(place) == digest:
            return place
    raise UserError(
        f"The {kind} of {folder}, {path.name}, is not known to lie anywhere here: give its file with "
        f"`gan2shape run --resume {folder} --{kind} FILE`."
    )
