"""Moving pictures: GIF by Pillow, MP4 by imageio with PyAV (extra `video`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan2shape.core.errors import UserError
from gan2shape.core.files import write_atomic

SUFFIXES = (".gif", ".mp4")
MP4_MULTIPLE = 16  # of both sides, as video encoders want


def require_writer(suffix: str) -> None:
    """Raises UserError, before any work, where frames cannot be written with this ending."""
    if suffix not in SUFFIXES:
        raise UserError(f"Animations end in {' or '.join(SUFFIXES)}, not {suffix!r}.")
    if suffix == ".mp4":
        try:
            import av  # noqa: F401
            import imageio.v3  # noqa: F401
        except ImportError as error:
            remedy = 'pip install "gan2shape[video]", or leave --video away'
            raise UserError(f"MP4 needs the extra: {remedy}.") from error


def write_animation(path: Path, frames: Sequence[np.ndarray], fps: int) -> Path:
    """uint8 frames [H, W, 3] of one size as a GIF that repeats, or as MP4, by the path's ending; whole or not at all.

    Raises UserError as `require_writer`.
    """
    path = Path(path)
    require_writer(path.suffix)
    write = _gif if path.suffix == ".gif" else _mp4
    return write_atomic(path, lambda temporary: write(temporary, frames, fps))


def _gif(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    from PIL import Image

    first, *others = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    first.save(path, format="GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)


def _mp4(path: Path, frames: Sequence[np.ndarray], fps: int) -> None:
    import imageio.v3 as imageio

    height, width = frames[0].shape[:2]
    below, beside = -height % MP4_MULTIPLE, -width % MP4_MULTIPLE
    whole = np.stack([np.pad(frame, ((0, below), (0, beside), (0, 0)), mode="edge") for frame in frames])
    imageio.imwrite(path, whole, plugin="pyav", codec="libx264", fps=fps, out_pixel_format="yuv420p")
