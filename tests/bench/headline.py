"""SIDE and MAD of what `draft` predicts for all validation objects, without inverting them: 10 s a category."""

import torch

from gan2shape.bench.exam import COUNT, exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.core.records import Observation
from gan2shape.prior.open import open_prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.initialize import from_depth_network
from gan2shape.shape.state import make_target, new_state

# 2 % above what ships
BOUNDS = {"car": {"side": 0.6918, "mad_deg": 20.144}, "head": {"side": 0.4615, "mad_deg": 14.820}}


def validation_errors(category: str) -> dict[str, float]:
    """Means of SIDE x 100 and of MAD in degrees over the 64 validation objects of a category."""
    generator, config = open_prior(category, device="cpu")
    scores = []
    for item in exam_objects(category, "val", COUNT["val"]):
        with torch.no_grad():
            latent = generator.prior.guess_latent(item.image)
            _, mask = generator(latent)
        target = make_target(Observation(item.image, mask, latent), generator)
        model, known = new_state(config, latent.shape[-1], "cpu").model, pretrained_networks(generator.prior, config)
        model = from_depth_network(model, known, target, generator, config)
        with torch.no_grad():
            scores.append(score_depth(model.depth(target.image), item.depth, item.mask, item.fov_deg))
    return {name: sum(score[name] for score in scores) / len(scores) for name in ("side", "mad_deg")}
