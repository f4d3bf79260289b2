"""The ellipsoid that starts the loop: a spherical cap on the mask's box, with a relief factor and a slant.

GAN2Shape section 3.2. Published constants: sphere radius .4, near .91, far 1.02 (config.PriorShapeConfig). Two
additions, both needed by objects seen at three-quarter view: `relief` scales the cap's height about
the far sheet, `slant` shears the cap along z, which turns an ellipsoid into the cap of a tilted ellipsoid. Depths are
z in the camera frame.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.config import PriorShapeConfig
from gan2shape.core.errors import UserError

BOX_LEVEL = 0.7  # mask value that counts as object when the box is measured (published)


def mask_box_px(mask: Float[Tensor, "1 1 S S"]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) pixel borders of the box of `mask` >= 0.7. Raises UserError for an empty mask."""
    inside = mask[0, 0] >= BOX_LEVEL
    if not bool(inside.any()):
        raise UserError("The object mask is empty: give a mask with --mask, or an image whose object is visible.")
    columns = torch.nonzero(inside.any(0)).flatten()
    rows = torch.nonzero(inside.any(1)).flatten()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def ellipsoid_depth(
    mask: Float[Tensor, "1 1 S S"], config: PriorShapeConfig, fov_deg: float, slant_deg: float = 0.0
) -> Float[Tensor, "1 1 S S"]:
    """Depth of the cap inside the mask's box and of the sheet behind it.

    slant_deg > 0 brings the image-right side nearer (as a positive yaw does). The published code centres the cap
    wrongly for off-centre boxes (reference, quirk of c_y); here both axes are divided by their own half-width.
    """
    size = mask.shape[-1]
    left, top, right, bottom = mask_box_px(mask)
    centres = torch.arange(size, device=mask.device, dtype=mask.dtype) + 0.5
    u = (centres - (left + right) / 2) / ((right - left) / 2)
    v = (centres - (top + bottom) / 2) / ((bottom - top) / 2)
    distance = (u[None, :].square() + v[:, None].square()).clamp_max(1.0)  # squared, 1 at the outline
    height = config.far - config.near
    chord = config.radius**2 - (config.radius - height) ** 2  # squared half-width of the published cap on its sphere
    cap = config.near + config.radius - (config.radius**2 - distance * chord).sqrt()
    depth = config.far + config.relief * (cap - config.far)
    x_scene = (centres - (left + right) / 2) * (2 * math.tan(math.radians(fov_deg) / 2) / size)
    depth = depth - math.tan(math.radians(slant_deg)) * x_scene[None, :]
    return depth[None, None]


def flat_depth(mask: Float[Tensor, "1 1 S S"]) -> Float[Tensor, "1 1 S S"]:
    """The null hypothesis of every table: a plane at distance 1."""
    return torch.ones_like(mask)
