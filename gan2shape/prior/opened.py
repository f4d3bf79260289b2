"""A prior that is loaded once and used for many images, in as many threads as there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.compose import compose
from gan2shape.core.config import ShapeConfig
from gan2shape.core.devices import one_thread_after_fork
from gan2shape.prior.calibration import Calibration
from gan2shape.prior.masked_generator import MaskedGenerator, observe_seed
from gan2shape.prior.open import custom_settings, estimate_of, fitting_calibration, open_prior, read_settings


@dataclass(frozen=True)
class OpenPrior:
    """`gan2shape.Prior`: a category's generator, or a custom one, ready for `gan2shape.reconstruct(prior=…)`.

    Nothing in it changes: threads may share one. Make it with `open`.
    """

    generator: MaskedGenerator
    category: str  # whose ranges of views and lights are used
    calibration: Calibration  # of those weights
    measured: tuple[str, ...] = ()  # ranges that `gan2shape prior` read off samples, as key=value

    @classmethod
    def open(
        cls,
        category: str | None = None,
        *,
        generator: str | Path | None = None,
        device: str = "auto",
        features: str | Path | None = None,
        class_index: int | None = None,
    ) -> "OpenPrior":
        """Load the bundled prior of a category (car unless given), or a StyleGAN2 checkpoint.

        Args: as of `gan2shape.reconstruct`. Raises UserError, with cause and remedy, for what cannot be used.
        """
        one_thread_after_fork()
        opened, config = open_prior(category, generator, None, (), features, device, class_index)
        own, networks = opened.prior.calibration, opened.prior.networks
        calibration = own if generator is None else fitting_calibration(own, networks, config.category)
        kept = None if generator is None else estimate_of(Path(generator), class_index)
        return cls(opened, config.category, calibration, read_settings(kept, config.category))

    @property
    def resolution(self) -> int:
        """Pixels a side at which it is used."""
        return self.generator.resolution

    @property
    def card(self) -> dict:
        """What it was trained on, measurements, licence, limits."""
        return self.generator.prior.card

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.generator.prior.w_mean.device

    def config(self, preset: str = "draft", overrides: Sequence[str] = ()) -> ShapeConfig:
        """The configuration of a preset for this prior. Raises UserError for an unknown preset or key."""
        settings = (*self.measured, *overrides)
        known = self.calibration.settings
        if self.generator.needs_mask:  # a custom one
            known = custom_settings(self.generator.prior.networks, self.calibration)
        config = compose(ShapeConfig, self.category, preset, settings, calibration=known)
        return replace(config, render=replace(config.render, resolution=self.resolution)).scaled()

    def sample(self, seed: int = 0) -> Float[Tensor, "1 3 S S"]:
        """The image of a seed, in [-1, 1]."""
        return observe_seed(seed, self.generator).image

    def __repr__(self) -> str:
        return f"gan2shape.Prior({self.category!r}, {self.resolution} x {self.resolution} pixels, {self.device})"
