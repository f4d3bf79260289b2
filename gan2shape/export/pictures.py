"""PNG files: depth, normals, albedo, shading, and strips.

Conventions
-----------
* Images are [3, S, S] in [-1, 1]; arrays are uint8 [H, W, 3], with alpha [H, W, 4].
* `depth.png` is 16-bit grey: 0 is z = 1 - half_range (near), 65535 is z = 1 + half_range (far), linear between.
* Normal pictures follow the usual look (x right red, y UP green, towards the viewer blue), although our own normals
  have y down and z < 0 towards the viewer.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.images import SheetLayout, contact_sheet, resized, to_uint8

LOW_COLOUR, HIGH_COLOUR = (0.80, 0.25, 0.15), (0.20, 0.55, 0.85)  # of confidence 0 and 1, in [0, 1]


def depth_to_uint16(depth: Float[Tensor, "1 1 S S"], half_range: float) -> np.ndarray:
    """z to uint16 [S, S] over 1 +- half_range, clipped."""
    unit = (depth.detach().cpu().double().numpy()[0, 0] - 1 + half_range) / (2 * half_range)
    return (unit * 65535).round().clip(0, 65535).astype(np.uint16)


def uint16_to_depth(stored: np.ndarray, half_range: float) -> np.ndarray:
    """The inverse of `depth_to_uint16`, float32, to within half_range / 65535."""
    return (1 + (stored.astype(np.float64) / 65535 * 2 - 1) * half_range).astype(np.float32)


def normal_picture(normal: Float[Tensor, "1 3 S S"]) -> np.ndarray:
    """Unit normals as colours: (x, -y, -z) / 2 + 1/2."""
    flipped = normal[0] * normal.new_tensor([1.0, -1.0, -1.0])[:, None, None]
    return to_uint8(flipped)


def grey_picture(values: Float[Tensor, "1 1 S S"], low: float, high: float) -> np.ndarray:
    """Values as grey: `low` black, `high` white."""
    unit = (values[0, 0] - low) / max(high - low, 1e-12)
    return to_uint8((unit * 2 - 1).expand(3, -1, -1))


def confidence_picture(confidence: Float[Tensor, "1 1 S S"]) -> np.ndarray:
    """Confidence as colours from `LOW_COLOUR` at 0 to `HIGH_COLOUR` at 1."""
    return to_uint8(confidence_colours(confidence)[0] * 2 - 1)


def confidence_colours(confidence: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B 3 S S"]:
    """The same in [0, 1]."""
    low, high = (confidence.new_tensor(colour).view(1, 3, 1, 1) for colour in (LOW_COLOUR, HIGH_COLOUR))
    return low + confidence * (high - low)


def depth_picture(depth: Float[Tensor, "1 1 S S"], mask: Float[Tensor, "1 1 S S"]) -> np.ndarray:
    """Depth for the eye: near is bright, stretched to the object's own range."""
    inside = depth[mask > 0.5] if bool((mask > 0.5).any()) else depth.flatten()
    return grey_picture(-depth, -float(inside.max()), -float(inside.min()))


def cut_out(pixels: np.ndarray, mask: Float[Tensor, "1 1 S S"]) -> np.ndarray:
    """uint8 [S, S, 3] with the mask as its alpha channel, [S, S, 4]: beside the object, maps mean nothing."""
    alpha = (mask[0, 0].detach().float().cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8)
    return np.concatenate([pixels, alpha[..., None]], -1)


def on_paper(pixels: np.ndarray) -> np.ndarray:
    """uint8 [S, S, 4] over white, [S, S, 3]."""
    alpha = pixels[..., 3:].astype(np.float64) / 255
    return (alpha * pixels[..., :3] + (1 - alpha) * np.array(SheetLayout.paper)).round().astype(np.uint8)


def png_bytes(pixels: np.ndarray) -> bytes:
    """A picture as `write_png` takes it, in memory."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def strip(
    images: Float[Tensor, "N 3 S S"], labels: Sequence[str] = (), width: int = 128, n_columns: int | None = None
) -> np.ndarray:
    """Images in a row with captions, each shown at `width` pixels or more (grown by cubic interpolation)."""
    shown = images.detach().float().cpu()
    return contact_sheet(to_uint8(resized(shown, max(width, shown.shape[-1]), "bicubic")), labels, n_columns)
