"""W inversion finds what the generator drew."""

from dataclasses import replace

import torch

from gan2shape.prior.packs import Prior
from gan2shape.shape.inversion import invert
from tests.shape.tiny import CONFIG, SIZE, tiny_generator


def test_a_sample_is_explained_much_better_than_by_its_best_start():
    generator = tiny_generator().prior
    w = generator.generator.mapping(torch.randn(2, 8, generator=torch.Generator().manual_seed(5)))
    images = generator.generator.synthesis(w).detach()
    found = invert(images, generator, CONFIG.invert, seed=1)
    mean_image = generator.generator.synthesis(generator.w_mean[None])
    assert (found.image - images).abs().mean() < 0.2 * (mean_image - images).abs().mean()


def test_the_same_seed_gives_the_same_latent():
    generator = tiny_generator().prior
    image = generator.generator.synthesis(generator.w_mean[None]).detach() + 0.1
    first, second = (invert(image, generator, CONFIG.invert, seed=2).latent for _ in range(2))
    assert torch.equal(first, second)


def test_the_caller_s_random_numbers_stay_and_reports_count_over_both_halves():
    generator, steps = tiny_generator().prior, []
    image = generator.generator.synthesis(generator.w_mean[None]).detach() + 0.1
    before = torch.get_rng_state()
    invert(image, generator, CONFIG.invert, seed=2, report=lambda *row, **_: steps.append(row))
    assert torch.equal(torch.get_rng_state(), before)
    assert steps == [("invert", step, 40) for step in (10, 20, 30, 40)]


def starts(prior: Prior, n: int, seed: int) -> torch.Tensor:
    """The random latents that an inversion begins with: at truncation .7."""
    z = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return prior.w_mean + 0.7 * (prior.generator.mapping(z) - prior.w_mean)


@torch.no_grad()
def test_the_start_that_made_the_image_is_the_best_one():
    prior, config = tiny_generator().prior, replace(CONFIG.invert, n_steps=0, n_starts=8, n_tracks=1)
    w = starts(prior, 8, seed=4)[[6, 2]]
    torch.testing.assert_close(invert(prior.generator.synthesis(w), prior, config, seed=4).latent, w)


@torch.no_grad()
def test_what_lies_within_the_mask_decides():
    """An image whose halves two latents made: the mask says which of them it is."""
    prior = tiny_generator().prior
    config = replace(CONFIG.invert, n_steps=0, n_starts=8, n_tracks=1, feature_weight=0.0)
    ours = starts(prior, 8, seed=4)[[1, 5]]
    images = prior.generator.synthesis(ours)
    left = torch.zeros(1, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1.0
    mixed = left * images[:1] + (1 - left) * images[1:]
    for mask, wanted in ((left, ours[:1]), (1 - left, ours[1:])):
        torch.testing.assert_close(invert(mixed, prior, config, seed=4, masks=mask).latent, wanted)
