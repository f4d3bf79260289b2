"""What hostile files are made of."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

SMALL = (8, (4, 4), 6, 1)  # resolution, widths, latent size, mapping layers of a rosinality network


def text(value: str) -> bytes:
    """A string as pickle instructions."""
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def called(module: str, name: str, argument: bytes) -> bytes:
    """`module.name(argument)`, protocol 4."""
    return text(module) + text(name) + b"\x93" + argument + b"\x85R"


def pickled(body: bytes) -> bytes:
    """A protocol-4 pickle of `body`."""
    return b"\x80\x04" + body + b"."


def writes(marker: Path) -> str:
    """Python source that leaves a mark."""
    return f"open({str(marker)!r}, 'w').close()"


def zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()
