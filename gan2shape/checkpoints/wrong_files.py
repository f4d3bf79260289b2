"""What a file is that is no checkpoint, recognised by its first bytes or by the parts of a zip file."""

from collections.abc import Collection

from gan2shape.checkpoints.errors import DOWNLOAD_AGAIN, UnreadableError

N_FIRST = 512  # bytes that are looked at
TAR_AT, TAR_MAGIC = 257, b"ustar"
UNPACK = "unpack it and give the checkpoint in it"
PAGE = ("is a web page that was saved in the place of the file", DOWNLOAD_AGAIN)
TEXT_STARTS = (  # lower case
    (b"<!doctype", *PAGE),
    (b"<html", *PAGE),
    (b"<?xml", "is an answer of a web server that was saved in the place of the file", DOWNLOAD_AGAIN),
    (b"version https://git-lfs", "is a Git LFS pointer in the place of the file", "fetch the file with `git lfs pull`"),
    (b"{", "is a JSON text", None),
)
STARTS = (
    (b"\x1f\x8b", "is compressed by gzip", UNPACK),
    (b"BZh", "is compressed by bzip2", UNPACK),
    (b"\xfd7zXZ", "is compressed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstandard", UNPACK),
    (b"7z\xbc\xaf", "is a 7z archive", UNPACK),
    (b"Rar!", "is a RAR archive", UNPACK),
    (b"\x89HDF", "is an HDF5 file (of Keras, say), and no StyleGAN2 is published so", None),
    (b"\x93NUMPY", "is an array of numpy's and no network", None),
    (b"\x89PNG", "is an image", "give it as --image"),
    (b"\xff\xd8\xff", "is an image", "give it as --image"),
    (b"PK\x05\x06", "is an empty zip file", DOWNLOAD_AGAIN),
)


def refuse_other_file(data: memoryview) -> None:
    """Raises UnreadableError for a file in no format of checkpoints."""
    first = bytes(data[:N_FIRST])
    text = first.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for start, kind, remedy in TEXT_STARTS:
        if text.startswith(start):
            raise UnreadableError(kind, remedy)
    for start, kind, remedy in STARTS:
        if first.startswith(start):
            raise UnreadableError(kind, remedy)
    if first[TAR_AT:].startswith(TAR_MAGIC):
        raise UnreadableError("is a tar archive", UNPACK)
    if not any(first):
        raise UnreadableError("begins with zeros only", DOWNLOAD_AGAIN)
    raise UnreadableError("is in no format that is known here")


def refuse_other_zip(names: Collection[str]) -> None:
    """Raises UnreadableError for a zip file that `torch.save` did not write."""
    if any(name.endswith(("/constants.pkl", "/code/__torch__.py")) or "/code/__torch__/" in name for name in names):
        raise UnreadableError(
            "is a TorchScript module, which holds code", "save the network's state_dict() with torch.save instead"
        )
    if any(name.endswith(".npy") for name in names):
        raise UnreadableError("is a file of numpy's arrays and no network")
    if not any(name.endswith("/data.pkl") for name in names):
        raise UnreadableError("is a zip archive, and torch did not write it", UNPACK)
