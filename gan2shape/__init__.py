"""gan2shape: depth, albedo, viewpoint and light of one image, learnt from a 2D GAN (Pan et al., ICLR 2021).

`gan2shape.reconstruct(image | latent | None, category="car") -> Reconstruction`. Heavy imports happen when it is first
used, so that `gan2shape --help` answers at once.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Reconstruction", "reconstruct"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("gan2shape.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
