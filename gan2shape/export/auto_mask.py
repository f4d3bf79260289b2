"""The object of a photo without a mask: by rembg where its network lies on this disk, else by GrabCut.

GrabCut (Rother et al. 2004) begins in a box. Three are tried: that of what differs from the picture's border (colours
far from all of the border's own are salient, those in the middle somewhat more), and two in the middle. A prior can say
which result looks like its own images. Both are extras; nothing is downloaded.
"""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from gan2shape.core.images import to_uint8

WORKING_PX = 256  # longer side that GrabCut sees
BORDER = 0.06  # width of the border whose colours are surroundings, of the shorter side
N_COLOURS = 4  # of the border
SMOOTHING = 0.02  # sd of the saliency's blur, of the shorter side
CENTRE_SD = 0.45  # of the weight that falls from the middle, in half sizes of the picture
BOX_MARGIN = 0.04  # around the salient part, of the picture's sides
INNER_MARGINS = (0.06, 0.2)  # of the boxes in the middle, of the picture's sides
ROUNDS = 6  # of GrabCut
SMALLEST, GREATEST = 0.01, 0.9  # share of the picture that an object covers
REMBG_MODEL = "u2net.onnx"  # in $U2NET_HOME or ~/.u2net, where rembg looks for it


def found_masks(colour: Float[Tensor, "1 3 H W"]) -> tuple[list[Float[Tensor, "1 1 H W"]], str]:
    """(masks that may be the object's in a picture in [0, 1], the likeliest first; by what they were found). Where
    there is none, the text says what would help.
    """
    pixels = to_uint8(colour[0], lowest=0.0)
    if rembg_model() is not None:
        found, name = [by_rembg(pixels)], "rembg"
    elif find_spec("cv2") is not None:
        found, name = by_grabcut(pixels), "GrabCut"
    else:
        return [], 'for photos without a mask install OpenCV: pip install "gan2shape[mask]"'
    usable = [mask for mask in found if SMALLEST <= float(mask.mean()) <= GREATEST]
    if not usable:
        return [], f"{name} finds no object that stands out: give its mask with --mask"
    return [torch.from_numpy(mask)[None, None] for mask in usable], name


def rembg_model() -> Path | None:
    """The file of rembg's network, where that package and the file are on this machine."""
    path = Path(os.environ.get("U2NET_HOME", Path.home() / ".u2net")) / REMBG_MODEL
    return path if find_spec("rembg") is not None and path.is_file() else None


def by_rembg(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """The mask that rembg's network gives."""
    from rembg import new_session, remove

    answer = remove(pixels, session=new_session(REMBG_MODEL.removesuffix(".onnx")), only_mask=True)
    return np.asarray(answer, dtype=np.float32).reshape(pixels.shape[:2]) / 255


def by_grabcut(pixels: UInt8[np.ndarray, "H W 3"]) -> list[Float[np.ndarray, "H W"]]:
    """The greatest piece of what GrabCut takes for the object, without holes, from each of its boxes."""
    import cv2

    height, width = pixels.shape[:2]
    scale = min(1.0, WORKING_PX / max(height, width))
    reduced = max(8, round(width * scale)), max(8, round(height * scale))
    small = cv2.resize(pixels, reduced, interpolation=cv2.INTER_AREA)
    found = []
    for left, top, right, bottom in (salient_box(small), *(inner_box(small, margin) for margin in INNER_MARGINS)):
        labels = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
        labels[top:bottom, left:right] = cv2.GC_PR_FGD
        cv2.setRNGSeed(0)
        try:
            cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
        except cv2.error:  # one colour only
            continue
        inside = greatest_piece(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))).astype(np.float32)
        found.append(np.clip(cv2.resize(inside, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1))
    return found


def inner_box(pixels: UInt8[np.ndarray, "H W 3"], margin: float) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what lies `margin` (of each side) within the picture."""
    height, width = pixels.shape[:2]
    aside, above = max(1, round(margin * width)), max(1, round(margin * height))
    return aside, above, width - aside, height - above


def salient_box(pixels: UInt8[np.ndarray, "H W 3"]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the greatest part that differs from the border's colours; inside the border."""
    import cv2

    height, width = pixels.shape[:2]
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    rim = max(1, round(BORDER * min(height, width)))
    is_border = np.ones((height, width), bool)
    is_border[rim : height - rim, rim : width - rim] = False
    border = lab[is_border]
    n_colours = min(N_COLOURS, len(np.unique(border, axis=0)))
    ended = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
    cv2.setRNGSeed(0)
    _, _, colours = cv2.kmeans(border, n_colours, None, ended, 3, cv2.KMEANS_PP_CENTERS)
    distance = np.linalg.norm(lab[:, :, None] - colours, axis=-1).min(-1)
    across, down = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    weighted = distance * np.exp(-(across**2 + down**2) / (2 * CENTRE_SD**2 * 4))
    blurred = cv2.GaussianBlur(weighted, (0, 0), max(0.5, SMOOTHING * min(height, width)))
    scaled = (255 * blurred / max(float(blurred.max()), 1e-6)).astype(np.uint8)
    _, salient = cv2.threshold(scaled, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    rows, columns = np.nonzero(greatest_piece(salient > 0))
    if not len(rows):
        return rim, rim, width - rim, height - rim
    aside, above = round(BOX_MARGIN * width), round(BOX_MARGIN * height)
    return (
        max(1, int(columns.min()) - aside),
        max(1, int(rows.min()) - above),
        min(width - 1, int(columns.max()) + 1 + aside),
        min(height - 1, int(rows.max()) + 1 + above),
    )


def greatest_piece(inside: np.ndarray) -> np.ndarray:
    """The greatest connected piece of a mask [H, W], its holes filled."""
    import cv2

    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(inside.shape, np.uint8)
    if outlines:
        cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled.astype(bool)
