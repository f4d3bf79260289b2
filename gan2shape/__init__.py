"""gan2shape: depth, albedo, viewpoint and light of one image, learnt from a 2D GAN (Pan et al., ICLR 2021).

    prior = gan2shape.Prior.open("car")                            # once
    made = gan2shape.reconstruct(image, prior=prior)               # or latent=, or seed=; a Reconstruction
    several = gan2shape.reconstruct_batch(images, prior=prior)     # preset instant unless said; a tuple of them
    picture = gan2shape.read_image("photo.png", prior.resolution)  # .image and .mask
    better = gan2shape.restore(image, task="superres:4", method="dgp", prior=prior)  # a Restored

Heavy imports happen when a name is first used, so that `gan2shape --help` answers at once.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Prior", "Reconstruction", "read_image", "reconstruct", "reconstruct_batch", "restore"]

_WHERE = {
    "Prior": ("gan2shape.prior.opened", "OpenPrior"),
    "Reconstruction": ("gan2shape.api", "Reconstruction"),
    "read_image": ("gan2shape.export.inputs", "read_image"),
    "reconstruct": ("gan2shape.api", "reconstruct"),
    "reconstruct_batch": ("gan2shape.api_many", "reconstruct_batch"),
    "restore": ("gan2shape.api_restore", "restore"),
}


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        module, inside = _WHERE[name]
        return getattr(import_module(module), inside)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
