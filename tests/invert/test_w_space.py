"""W inversion finds what the generator drew."""

import torch

from gan2shape.invert.w_space import invert
from tests.shape.tiny import CONFIG, tiny_generator


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
