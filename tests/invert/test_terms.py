"""Terms: zero at their optimum, and hand values."""

import math
from dataclasses import replace

import pytest
import torch

from gan2shape.invert.method import TermConfig
from gan2shape.invert.spaces import Made
from gan2shape.invert.terms import DATA, TERMS, Candidate, Comparison
from gan2shape.prior.packs import Prior
from tests.shape.tiny import SIZE, tiny_generator

N_ROWS = 8


def prior() -> Prior:
    return tiny_generator().prior


def comparison(target: torch.Tensor, **regions: torch.Tensor) -> Comparison:
    known = torch.ones_like(target[:, :1])
    start_w = prior().w_mean.expand(len(target), -1)
    return Comparison(prior(), {"observed": target}, {"known": known, **regions}, start_w=start_w)


def picture(seed: int, n: int = 1) -> torch.Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def of(image: torch.Tensor, **parts) -> Candidate:
    return Candidate(Made(image, **parts), image)


def value(name: str, candidate: Candidate, task: Comparison, **settings) -> torch.Tensor:
    return TERMS[name](candidate, task, TermConfig(name, **settings))


@pytest.mark.parametrize("name", sorted(DATA))
def test_data_terms_are_zero_at_the_target_and_positive_elsewhere(name: str) -> None:
    target = picture(0, 2)
    task = comparison(target)
    assert value(name, of(target), task).tolist() == [0.0, 0.0]
    assert bool((value(name, of(picture(1, 2)), task) > 0).all())


@pytest.mark.parametrize("name", sorted(DATA))
def test_each_picture_of_a_batch_has_the_value_that_it_has_alone(name: str) -> None:
    target, made = picture(0, 3), picture(1, 3)
    together = value(name, of(made), comparison(target))
    alone = [value(name, of(made[i : i + 1]), comparison(target[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_pixel_terms_have_their_hand_values() -> None:
    target = torch.zeros(1, 3, SIZE, SIZE)
    made = of(torch.full_like(target, 0.5))
    task = comparison(target)
    assert value("pixel_l1", made, task).item() == pytest.approx(0.5)
    assert value("pixel_l2", made, task).item() == pytest.approx(0.25)
    assert value("pixel_smooth_l1", made, task).item() == pytest.approx(0.125)
    assert value("pyramid", made, task).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["pixel_l1", "pixel_l2", "pixel_smooth_l1"])
def test_only_the_region_counts(name: str) -> None:
    left = torch.zeros(1, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 1.0
    target = picture(0)
    made = target.clone()
    made[..., SIZE // 2 :] += 0.4
    task = comparison(target, left=left, right=1 - left)
    assert value(name, of(made), task, region="left").item() == 0.0
    everywhere = value(name, of(made), task, region="all").item()
    assert value(name, of(made), task, region="right").item() == pytest.approx(2 * everywhere, rel=1e-5)


def rows(*vectors: list[float]) -> torch.Tensor:
    return torch.tensor([vectors])


def test_layers_that_agree_cost_nothing() -> None:
    w = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)).expand(-1, N_ROWS, -1)
    made, task = of(picture(0, 2), w=w), comparison(picture(0, 2))
    for name in ("colinearity", "geocross", "delta"):
        torch.testing.assert_close(value(name, made, task), torch.zeros(2), atol=1e-4, rtol=0)


def test_colinearity_is_one_for_orthogonal_and_two_for_opposite_layers() -> None:
    task = comparison(picture(0))
    right, up = [1.0] + [0.0] * 7, [0.0, 2.0] + [0.0] * 6
    assert value("colinearity", of(picture(0), w=rows(right, up)), task).item() == pytest.approx(1.0)
    left = [-3.0] + [0.0] * 7
    assert value("colinearity", of(picture(0), w=rows(right, left)), task).item() == pytest.approx(2.0)


def test_geocross_of_two_opposite_layers_is_that_of_pulse() -> None:
    """Their angle is pi; two of the four ordered pairs have it: 512 / 8 * pi^2 / 2."""
    right, left = [1.0] + [0.0] * 7, [-1.0] + [0.0] * 7
    found = value("geocross", of(picture(0), w=rows(right, left)), comparison(picture(0))).item()
    assert found == pytest.approx(64 * math.pi**2 / 2, rel=1e-4)


def test_the_prior_on_w_is_zero_at_the_mean_and_one_at_its_own_scale() -> None:
    p = prior()
    task = comparison(picture(0))
    for name in ("w_prior", "w_whitened", "w_start"):
        assert value(name, of(picture(0), w=p.w_mean[None]), task).item() == 0.0
    w = p.generator.mapping(torch.randn(4000, 8, generator=torch.Generator().manual_seed(9)))
    images = picture(0).expand(4000, -1, -1, -1)
    many, task = of(images, w=w), comparison(images)
    assert value("w_prior", many, task).mean().item() == pytest.approx(1.0, rel=0.1)
    assert value("w_whitened", many, task).mean().item() == pytest.approx(1.0, rel=0.1)


def test_the_entropy_of_a_spread_is_that_of_its_normal_distribution() -> None:
    """Minus the entropy, up to the constant of a standard one: that of sd e is 1 less for each component."""
    wide, narrow = torch.full((1, N_ROWS, 8), math.e), torch.full((1, N_ROWS, 8), 1.0)
    found = [value("entropy", of(picture(0), spread=sd), comparison(picture(0))).item() for sd in (wide, narrow)]
    assert found == pytest.approx([-1.0, 0.0], abs=1e-6)
    true = [torch.distributions.Normal(0.0, sd).entropy().mean().item() for sd in (wide, narrow)]
    assert found[0] - found[1] == pytest.approx(true[1] - true[0])


def test_z_normal_is_half_the_mean_square() -> None:
    z = torch.tensor([[1.0, 3.0] * 4])
    assert value("z_normal", of(picture(0), z=z), comparison(picture(0))).item() == pytest.approx(2.5)


def test_total_variation_of_a_step_is_its_height_a_row() -> None:
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[..., SIZE // 2 :] = 0.5
    expected = math.sqrt(3 * 0.25) / (SIZE - 1)  # one of SIZE - 1 columns has a gradient, in three channels
    assert value("total_variation", of(image), comparison(image)).item() == pytest.approx(expected, rel=0.02)
    flat = torch.full_like(image, 0.3)
    assert value("total_variation", of(flat), comparison(flat)).item() == pytest.approx(0.0, abs=1e-6)


def test_the_noise_regulariser_tells_white_noise_from_smooth_maps() -> None:
    white = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(white[..., ::8, ::8], size=32)
    task = comparison(picture(0))
    values = [value("noise_regulariser", of(picture(0), noise=(maps,)), task).item() for maps in (white, smooth)]
    assert values[0] < 0.1 < values[1]
    constant = (torch.ones(1, 1, 8, 8),)
    assert value("noise_regulariser", of(picture(0), noise=constant), task).item() == pytest.approx(2.0)
    assert value("noise_size", of(picture(0), noise=constant), task).item() == pytest.approx(1.0)


def test_the_adversarial_term_is_softplus_of_minus_the_logit_of_each_picture_alone() -> None:
    p, images = prior(), picture(3, 2)
    found = value("adversarial", of(images), comparison(images))
    logits = torch.stack([p.discriminator(image[None])[0, 0] for image in images])
    torch.testing.assert_close(found, torch.nn.functional.softplus(-logits))


def test_another_network_may_judge() -> None:
    target = picture(0)
    task = replace(comparison(target), networks={"mine": lambda images, n_blocks: [images[:, :1]] * n_blocks})
    made = of(target + torch.tensor([0.0, 1.0, 1.0])[:, None, None])  # only what it does not see differs
    assert value("features", made, task, network="mine").item() == 0.0
    assert value("features", made, task).item() > 0


def test_small_pictures_are_compared_by_as_many_blocks_as_they_can_pass() -> None:
    target, made = picture(0)[..., :4, :4].contiguous(), picture(1)[..., :4, :4].contiguous()
    task = comparison(target)
    assert value("features", of(made), task, n_blocks=3).item() == value("features", of(made), task, n_blocks=2).item()
    assert value("features", of(made), task, n_blocks=1).item() != value("features", of(made), task, n_blocks=2).item()


def test_gram_does_not_care_where_things_are() -> None:
    target = picture(0)
    turned = target.roll(2, -1)  # by the stride of the first block
    task = comparison(target)
    style = value("gram", of(turned), task, n_blocks=1, region="all").item()
    assert style < 0.05 * value("features", of(turned), task, n_blocks=1, region="all").item()
