"""What an outline is worth: exam objects whose masks are cut, framed as photos are, read, and scored in what is left.

The object is cut (scene/cutting.py), scaled and centred to what is left, and laid on the prior's background, as
`export/framing.py` does with photos. The truth is reframed alike (scene/reframe.py), and so is what was read in the
whole image: scored on the same pixels, it is what the cut one is compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gan2shape.bench.exam import ExamObject
from gan2shape.bench.score import score_mask
from gan2shape.core.config import ShapeConfig
from gan2shape.core.records import UsualFrame
from gan2shape.measure import metrics
from gan2shape.nn.scene_networks import SceneNetworks
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.scene.cutting import cut_masks
from gan2shape.scene.light import normals_from_depth
from gan2shape.scene.reframe import boxes, reframed, reframed_depth, squares_around
from gan2shape.shape.initialize import from_depth_network
from gan2shape.shape.observe import observe_image
from gan2shape.shape.state import make_target, new_state

WHOLE = "whole"  # nothing is cut
# How much is cut (see `cut_masks`): at a head's chin, at its hairline, to an ellipse. The other kinds are random.
AMOUNTS = {"bottom": 0.27, "top": 0.5, "oval": 0.5}
Reader = Callable[[Tensor, Tensor], Tensor]  # image and mask -> depth, [1, ., S, S] each
METRICS = ("side", "mad_deg", "side_plane", "mad_plane_deg")


@dataclass(frozen=True)
class CutObject:
    """An exam object cut and framed, with the truth in that frame."""

    image: Float[Tensor, "1 3 S S"]
    mask: Float[Tensor, "1 1 S S"]
    depth: Float[Tensor, "1 1 S S"]
    square: Float[Tensor, "1 3"]  # of the exam's picture


def cut_object(item: ExamObject, kind: str, frame: UsualFrame) -> CutObject:
    """The object cut, or as it is (`WHOLE`); the random part of a cut is fixed by its seed."""
    amounts = torch.rand(1, 3, generator=torch.Generator().manual_seed(item.seed))
    if kind in AMOUNTS:
        amounts[:, :2] = AMOUNTS[kind]
    cut = item.mask if kind == WHOLE else cut_masks(item.mask, [kind], amounts)
    square = squares_around(boxes(cut), torch.tensor([frame.size[1]]), torch.tensor([frame.centre]))
    mask = reframed(cut, square, "zeros")
    colour = torch.tensor(frame.background)[None, :, None, None]
    image = reframed(item.image * cut + colour * (1 - cut), square)
    return CutObject(mask * image + (1 - mask) * colour, mask, true_depth(item, square), square)


def framed_object(item: ExamObject, frame: UsualFrame) -> ExamObject:
    """An object of another category's exam as a photo of it would be framed for the prior; plain ones alone."""
    seen = cut_object(item, WHOLE, frame)
    return replace(item, image=seen.image, mask=seen.mask, depth=seen.depth, skin=None)


def true_depth(item: ExamObject, square: Float[Tensor, "1 3"]) -> Float[Tensor, "1 1 S S"]:
    """The truth in that square. Beside the object it is undefined: there the object's mean depth stands."""
    inside = item.mask > 0.5
    filled = torch.where(inside, item.depth, item.depth[inside].mean())
    return reframed_depth(filled, square, item.fov_deg)


@torch.no_grad()
def read_depth(
    image: Float[Tensor, "1 3 S S"],
    mask: Float[Tensor, "1 1 S S"],
    known: SceneNetworks,
    generator: MaskedGenerator,
    config: ShapeConfig,
) -> Float[Tensor, "1 1 S S"]:
    """The initial depth of a run on an image with its mask, on the CPU."""
    with torch.enable_grad():
        observation = observe_image(image, generator, config, mask)
    target = make_target(observation, generator if config.ablation.learn_from_inversion else None)
    device = target.image.device
    model = new_state(config, observation.latent.shape[-1], device).model
    return from_depth_network(model, known, target, generator, config).depth(target.image).cpu()


def score_in(
    depth: Float[Tensor, "1 1 S S"],
    truth: Float[Tensor, "1 1 S S"],
    mask: Bool[Tensor, "1 1 S S"],
    fov_deg: float,
) -> dict[str, float]:
    """SIDE x 100 and MAD in degrees inside the mask; the same (`_plane`) with the best plane taken out."""
    scores = {}
    for suffix, one in (("", depth), ("_plane", without_plane(depth, truth, mask))):
        normals, true_normals = normals_from_depth(one, fov_deg), normals_from_depth(truth, fov_deg)
        scores["side" + suffix] = 100 * metrics.side(one, truth, mask).item()
        scores[f"mad{suffix}_deg"] = metrics.mad_deg(normals, true_normals, mask).item()
    return scores


def without_plane(
    depth: Float[Tensor, "1 1 S S"], truth: Float[Tensor, "1 1 S S"], mask: Bool[Tensor, "1 1 S S"]
) -> Float[Tensor, "1 1 S S"]:
    """The depth less the plane (in log depth) that is nearest to its error inside the mask."""
    ramp = torch.linspace(-1, 1, depth.shape[-1])
    columns = torch.stack(torch.broadcast_tensors(torch.ones(()), ramp, ramp[:, None]), -1)
    error = (depth.log() - truth.log())[0, 0]
    inside = mask[0, 0]
    plane = torch.linalg.lstsq(columns[inside].double(), error[inside].double()[:, None]).solution
    return (depth.log() - (columns.double() @ plane)[..., 0].float()).exp()


def score_cuts(
    item: ExamObject, kinds: tuple[str, ...], frame: UsualFrame, read: Reader
) -> dict[str, dict[str, float]]:
    """Scores by row: `whole`, and for each kind what was read in the cut image and, on the same pixels, in the whole
    one (`KIND, seen whole`) and of a plane (`KIND, flat`).
    """
    whole = read(item.image, item.mask)
    rows = {WHOLE: score_in(whole, item.depth, score_mask(item.mask), item.fov_deg)}
    for kind in kinds:
        cut = cut_object(item, kind, frame)
        scored = score_mask(cut.mask)
        found = read(cut.image, cut.mask)
        seen_whole = reframed_depth(whole, cut.square, item.fov_deg)
        seen = {kind: found, f"{kind}, seen whole": seen_whole, f"{kind}, flat": torch.ones_like(found)}
        rows |= {name: score_in(depth, cut.depth, scored, item.fov_deg) for name, depth in seen.items()}
    return rows
