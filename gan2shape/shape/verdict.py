"""Whether a result can be trusted: figures that tell what a prior knows from what it does not, and a verdict in words.

The shape is learnt from what the generator makes of an image. Where that is another picture, the shape is one as well.
What the pack's encoder sees at first sight tells this better than an inversion, which bends the latent until it fits:
so the figures are taken of G(w) with w from the encoder, one pass and a few milliseconds an image.

    guess_psnr_db     PSNR of G(w) against the image, inside the mask
    feature_distance  relative L1 distance of the two in the discriminator's features (whole picture, so outlines count)
    round_trip        distance between w and what the encoder sees in G(w), in standard deviations of w
    mask_iou          intersection over union of the given mask and that of G(w); only where a mask was given

A pack's calibration holds two limits of each, where the edge of the prior's knowledge begins and where it ends
(build/limits.py chooses them; docs/trust.md has the measured rates). The worst figure decides. Without an encoder or
without limits, as for custom generators, there is no verdict.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.records import Observation, Verdict
from gan2shape.measure.metrics import iou, psnr_db
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.packs import Prior

FLAT_SD = 0.01  # of an image's values in [-1, 1]: less is one flat colour
N_FEATURE_BLOCKS = 3  # of the discriminator, or as many as a small one has
LEAST_VARIANCE = 1e-3  # of a principal component of w, of the greatest: w hardly leaves a few dozen dimensions
INSIDE, EDGE, OUTSIDE = "inside", "edge", "outside"  # `Verdict.level`
FALLING = ("guess_psnr_db", "mask_iou")  # figures that are low for strange images; the others are high
MEANINGS = {
    "guess_psnr_db": "its own picture of the object comes within {value:.1f} dB; {limit:.1f} or more are usual",
    "feature_distance": "its own picture differs in form and texture by {value:.2f}; {limit:.2f} at most are usual",
    "round_trip": "it takes its own picture for another object, {value:.2f} away; {limit:.2f} at most are usual",
    "mask_iou": "the mask and the object that it sees overlap by {value:.0%}; {limit:.0%} or more are usual",
}  # of each figure where it decides


def require_picture(image: Float[Tensor, "1 3 S S"]) -> None:
    """Raises UserError for an image in which nothing can be seen: not finite, or of one colour."""
    if not bool(image.isfinite().all()):
        raise UserError("The image holds values that are not finite (NaN or infinite): save it again.")
    if float(image.std((2, 3)).max()) < FLAT_SD:
        raise UserError("The image is one flat colour, without an object in it: give another one.")


@dataclass(frozen=True)
class Guess:
    """What a pack's networks see in some images at first sight."""

    latents: Float[Tensor, "B D"]  # w, by the encoder
    made: Float[Tensor, "B 3 S S"]  # G(w)
    masks: Float[Tensor, "B 1 S S"]  # of the objects in G(w)

    def rows(self, places: Sequence[int]) -> "Guess":
        """Those of some of the images."""
        places = list(places)
        return Guess(self.latents[places], self.made[places], self.masks[places])


def first_guess(images: Float[Tensor, "B 3 S S"], generator: MaskedGenerator) -> Guess | None:
    """One pass of encoder and generator, without gradient; None without an encoder or a mask head."""
    with torch.no_grad():
        latents = None if generator.head is None else generator.prior.guess_latent(images)
        return None if latents is None else Guess(latents, *generator(latents))


@torch.no_grad()
def inversion_figures(
    observations: Sequence[Observation],
    generator: MaskedGenerator,
    made: Float[Tensor, "B 3 S S"] | None = None,
) -> list[dict[str, float]]:
    """What the latent of each image tells: `inversion_psnr_db`, the PSNR of G(latent) against the image inside the
    mask, and `latent_distance`. Nothing of a sample or a latent.

    made: G of each latent, where that is known. Images do not depend on each other.
    """
    found: list[dict[str, float]] = [{} for _ in observations]
    places = [i for i, one in enumerate(observations) if one.is_inverted]
    if not places:
        return found
    images, masks, latents = (torch.cat([getattr(observations[i], part) for i in places])
                              for part in ("image", "mask", "latent"))  # fmt: skip
    shown = generator(latents)[0] if made is None else made[places]
    columns = psnr_db(shown, images, masks > 0.5), latent_distance(latents, generator.prior)
    for i, row in zip(places, torch.stack(columns, 1).tolist(), strict=True):
        found[i] = dict(zip(("inversion_psnr_db", "latent_distance"), row, strict=True))
    return found


def latent_distance(latents: Float[Tensor, "B *L D"], prior: Prior) -> Float[Tensor, " B"]:
    """How far each latent lies from the mean of w: the root mean square of its principal components, each in its own
    standard deviation (1 is usual for samples). Of an inversion it is large where the image is strange.
    """
    variances, axes = torch.linalg.eigh(prior.w_cov)
    components = (latents - prior.w_mean) @ axes
    relative = components.square() / variances.clamp_min(LEAST_VARIANCE * float(variances.max()))
    return relative.flatten(1).mean(1).sqrt()


@torch.no_grad()
def trust_figures(
    images: Float[Tensor, "B 3 S S"],
    generator: MaskedGenerator,
    masks: Float[Tensor, "B 1 S S"] | None = None,
    guess: Guess | None = None,
) -> dict[str, Float[Tensor, " B"]] | None:
    """The figures of each image, as above; None without an encoder, a mask head or a discriminator. A PSNR is 0 where
    the generator shows no object.

    masks: those that were given. guess: `first_guess` of the images, where it is known. Images do not depend on each
    other.
    """
    prior = generator.prior
    guess = guess if guess is not None or prior.discriminator is None else first_guess(images, generator)
    if guess is None or prior.discriminator is None:
        return None
    compared = guess.masks if masks is None else masks
    found = {
        "guess_psnr_db": psnr_db(guess.made, images, compared > 0.5).nan_to_num(0.0),
        "feature_distance": feature_distance(images, guess.made, prior),
        "round_trip": ((prior.guess_latent(guess.made) - guess.latents) / prior.w_std).square().mean(1).sqrt(),
    }
    return found if masks is None else {**found, "mask_iou": iou(masks > 0.5, guess.masks > 0.5)}


def feature_distance(
    images: Float[Tensor, "B 3 S S"], made: Float[Tensor, "B 3 S S"], prior: Prior
) -> Float[Tensor, " B"]:
    """Mean over the discriminator's first blocks of |features of `images` - of `made`|, each in parts of the latter."""
    n_blocks = min(N_FEATURE_BLOCKS, len(prior.discriminator.block_names))
    pairs = zip(*(prior.discriminator.features(x, n_blocks) for x in (images, made)), strict=True)
    parts = [(one - other).abs().mean((1, 2, 3)) / other.abs().mean((1, 2, 3)) for one, other in pairs]
    return torch.stack(parts).mean(0)


def excess(value: float, limits: tuple[float, float]) -> float:
    """How far beyond its limits a figure lies: up to 0 inside, up to 1 at the edge, more outside.

    Limits that rise are of a figure that grows with the distance from the prior, falling ones of one that falls.
    """
    edge, end = limits
    return (value - edge) / (end - edge)


def strangeness(figures: Mapping[str, float], limits: Mapping[str, tuple[float, float]]) -> float | None:
    """The greatest `excess` of an image's figures; None where none of them has limits."""
    return max((excess(value, limits[figure]) for figure, value in figures.items() if figure in limits), default=None)


def level_of(worst: float) -> str:
    """The level of the greatest `excess`."""
    return INSIDE if worst <= 0 else EDGE if worst <= 1 else OUTSIDE


def judge(figures: Mapping[str, float], limits: Mapping[str, tuple[float, float]], name: str) -> Verdict | None:
    """The verdict about an image of these figures by the prior `name`; None where none of them has limits."""
    by_excess = {figure: excess(value, limits[figure]) for figure, value in figures.items() if figure in limits}
    if not by_excess:
        return None
    decides = max(by_excess, key=by_excess.__getitem__)
    level = level_of(by_excess[decides])
    why = MEANINGS[decides].format(value=figures[decides], limit=limits[decides][0])
    sentence = {
        INSIDE: f"This image lies inside what the {name} prior knows.",
        EDGE: f"This image lies at the edge of what the {name} prior knows ({why}): compare the shape with the image.",
        OUTSIDE: f"Warning: this image lies outside what the {name} prior knows ({why}). The shape is the prior's "
        "guess, not that of the image.",
    }[level]
    return Verdict(level, sentence, dict(figures))


@torch.no_grad()
def verdicts_of(
    observations: Sequence[Observation], generator: MaskedGenerator, guess: Guess | None = None
) -> list[Verdict | None]:
    """The verdict about each image that was given, all in one pass; None for samples and latents, and where nothing
    can tell.

    guess: `first_guess` of all images, where it is known.
    """
    limits, verdicts = generator.prior.calibration.limits, [None] * len(observations)
    name = str(generator.prior.card.get("category", "generator's"))
    for has_mask in (False, True):
        places = [i for i, one in enumerate(observations) if one.is_inverted and one.has_given_mask == has_mask]
        if not places or not limits:
            continue
        images, masks = (torch.cat([getattr(observations[i], part) for i in places]) for part in ("image", "mask"))
        own = None if guess is None else guess.rows(places)
        figures = trust_figures(images, generator, masks if has_mask else None, own)
        if figures is None:
            continue
        columns = zip(*(values.tolist() for values in figures.values()), strict=True)
        for i, row in zip(places, columns, strict=True):
            verdicts[i] = judge(dict(zip(figures, row, strict=True)), limits, name)
    return verdicts
