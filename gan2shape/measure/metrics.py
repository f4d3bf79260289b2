"""SIDE, aligned SIDE, MAD, IoU, PSNR, SSIM: one number per image, on a mask.

Conventions: depth [B,1,S,S] positive; normals [B,3,S,S] unit, towards the camera; masks [B,1,S,S] boolean; images in
[-1, 1]. SIDE and MAD follow Wu et al., CVPR 2020 (unsup3d), section 4.1; tables print SIDE times 100.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def erode(mask: Bool[Tensor, "B 1 S S"], radius_px: int = 1) -> Bool[Tensor, "B 1 S S"]:
    """Keep the pixels whose whole (2 r + 1)^2 neighbourhood lies in the mask; the outside of the image is not in it."""
    from kornia.morphology import erosion  # late: it takes half a second, and a run erodes nothing

    width = 2 * radius_px + 1
    kernel = torch.ones(width, width, device=mask.device)
    return erosion(mask.float(), kernel, border_type="constant", border_value=0.0) > 0.5


def masked_mean(values: Float[Tensor, "B 1 S S"], mask: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, " B"]:
    """Mean of each image's values inside its mask; NaN where the mask is empty."""
    weight = mask.to(values.dtype)
    return (torch.where(mask, values, 0.0) * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def side(
    depth: Float[Tensor, "B 1 S S"], truth: Float[Tensor, "B 1 S S"], mask: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, " B"]:
    """Scale-invariant depth error: the standard deviation of log depth - log truth inside the mask (not times 100)."""
    difference = depth.log() - truth.log()
    mean = masked_mean(difference, mask).view(-1, 1, 1, 1)
    return masked_mean((difference - mean).square(), mask).sqrt()


def side_aligned(
    depth: Float[Tensor, "B 1 S S"], truth: Float[Tensor, "B 1 S S"], mask: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, " B"]:
    """min over s >= 0 of std(s log depth - log truth): SIDE after the best depth scale (the gauge between depth scale
    and yaw).

    The minimum is at s = cov(log depth, log truth) / var(log depth), clipped at 0 (a flat depth gives SIDE of flat).
    """
    log_depth, log_truth = depth.log(), truth.log()
    a = log_depth - masked_mean(log_depth, mask).view(-1, 1, 1, 1)
    b = log_truth - masked_mean(log_truth, mask).view(-1, 1, 1, 1)
    variance = masked_mean(a * a, mask)
    scale = (masked_mean(a * b, mask) / variance.clamp_min(torch.finfo(depth.dtype).tiny)).clamp_min(0.0)
    return masked_mean((scale.view(-1, 1, 1, 1) * a - b).square(), mask).sqrt()


def best_depth_scale(
    depth: Float[Tensor, "B 1 S S"], truth: Float[Tensor, "B 1 S S"], mask: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, " B"]:
    """The s of `side_aligned`: below 1 the reconstruction is too deep, above 1 too flat."""
    log_depth, log_truth = depth.log(), truth.log()
    a = log_depth - masked_mean(log_depth, mask).view(-1, 1, 1, 1)
    b = log_truth - masked_mean(log_truth, mask).view(-1, 1, 1, 1)
    return masked_mean(a * b, mask) / masked_mean(a * a, mask).clamp_min(torch.finfo(depth.dtype).tiny)


def mad_deg(
    normals: Float[Tensor, "B 3 S S"], truth: Float[Tensor, "B 3 S S"], mask: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, " B"]:
    """Mean angle in degrees between two normal maps inside the mask."""
    cosine = (normals * truth).sum(1, keepdim=True).clamp(-1.0, 1.0)
    return masked_mean(torch.acos(cosine), mask) * (180.0 / math.pi)


def iou(mask: Bool[Tensor, "B 1 S S"], truth: Bool[Tensor, "B 1 S S"]) -> Float[Tensor, " B"]:
    """Intersection over union; 1 where both are empty."""
    both = (mask & truth).sum((1, 2, 3)).float()
    either = (mask | truth).sum((1, 2, 3)).float()
    return torch.where(either > 0, both / either.clamp_min(1.0), torch.ones_like(either))


def psnr_db(
    image: Float[Tensor, "B 3 S S"], truth: Float[Tensor, "B 3 S S"], mask: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, " B"]:
    """Peak signal-to-noise ratio inside the mask for images in [-1, 1] (peak 2), in dB."""
    error = masked_mean((image - truth).square().mean(1, keepdim=True), mask)
    return 10.0 * torch.log10(4.0 / error.clamp_min(1e-12))


def ssim(
    image: Float[Tensor, "B 3 S S"], truth: Float[Tensor, "B 3 S S"], mask: Bool[Tensor, "B 1 S S"]
) -> Float[Tensor, " B"]:
    """Structural similarity (Wang et al. 2004: 11 x 11 Gaussian window, sd 1.5 pixels) of images in [-1, 1], averaged
    over channels and over the windows whose centre lies in the mask; at most 1. The border is reflected.
    """
    from kornia.metrics import ssim as ssim_map  # late, as in `erode`

    maps = ssim_map((image + 1) / 2, (truth + 1) / 2, 11, max_val=1.0)
    return masked_mean(maps.mean(1, keepdim=True), mask)
