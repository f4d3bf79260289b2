"""Penalties in closed form; weight averages."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from gan2shape.nn.averages import average_weights
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.train import objectives

GENERATOR = GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8, n_mapping=2)


def small_networks(stddev_group: int) -> tuple[Generator, Discriminator]:
    config = DiscriminatorConfig(resolution=16, channels=(8, 6), stddev_group=stddev_group)
    return Generator(GENERATOR), Discriminator(config)


def gradients(module: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in module.parameters() if p.grad is not None]


class LinearDiscriminator(nn.Module):
    """D(x) = <a, x>: its gradient is a at every image."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, image: Tensor) -> Tensor:
        return (image * self.a).sum(dim=(1, 2, 3))[:, None]


def test_gradient_penalty_of_a_linear_discriminator() -> None:
    discriminator = LinearDiscriminator()
    penalty = objectives.gradient_penalty(discriminator, torch.randn(5, 3, 4, 4))
    torch.testing.assert_close(penalty, discriminator.a.square().sum())
    penalty.backward()
    torch.testing.assert_close(discriminator.a.grad, 2 * discriminator.a)


def test_gradient_penalty_by_finite_differences() -> None:
    """The penalty's own gradient (a second derivative) through the real discriminator, double precision."""
    _, discriminator = small_networks(stddev_group=2)
    discriminator = discriminator.double()
    real = torch.randn(2, 3, 16, 16).double()
    parameter = discriminator.b8.conv0.weight
    direction = torch.randn_like(parameter)
    direction /= direction.norm()
    objectives.gradient_penalty(discriminator, real).backward()
    analytic = float((parameter.grad * direction).sum())
    values = []
    for sign in (1, -1):
        perturbed = copy.deepcopy(discriminator)
        perturbed.b8.conv0.weight.data += sign * 1e-4 * direction
        values.append(float(objectives.gradient_penalty(perturbed, real).detach()))
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(analytic, rel=1e-3)


def test_slope_penalty_of_a_linear_critic() -> None:
    """(|a| - 1)^2 wherever it is looked; gradient 2 (|a| - 1) a / |a|."""
    critic = LinearDiscriminator()
    real, fake = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    penalty = objectives.slope_penalty(critic, real, fake, torch.rand(5))
    norm = critic.a.norm()
    torch.testing.assert_close(penalty, (norm - 1).square())
    penalty.backward()
    torch.testing.assert_close(critic.a.grad, (2 * (norm - 1) * critic.a / norm).detach())


def test_slope_penalty_looks_between_real_and_fake() -> None:
    """D(x) = |x|^2 / 2 has the gradient x: the penalty says at which points it was taken."""
    real, fake = torch.randn(4, 1, 2, 2), torch.randn(4, 1, 2, 2)
    share = torch.tensor([0.0, 0.25, 0.5, 1.0])
    points = [(1 - s) * f + s * r for s, r, f in zip(share, real, fake, strict=True)]
    expected = torch.stack([(x.norm() - 1).square() for x in points]).mean()
    penalty = objectives.slope_penalty(HalfSquare(), real, fake, share)
    torch.testing.assert_close(penalty, expected)


class HalfSquare(nn.Module):
    """D(x) = |x|^2 / 2."""

    def forward(self, image: Tensor) -> Tensor:
        return 0.5 * image.flatten(1).square().sum(1, keepdim=True)


def test_slope_penalty_by_gradcheck() -> None:
    """Its gradient in the critic's weights, a second derivative, in double precision."""
    critic = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Softplus(), nn.Flatten(), nn.Linear(2, 1)).double()
    real, fake = (torch.randn(3, 1, 2, 2, dtype=torch.float64) for _ in range(2))
    share, names = torch.rand(3, dtype=torch.float64), list(dict(critic.named_parameters()))

    def penalty(*weights: Tensor) -> Tensor:
        def called(image: Tensor) -> Tensor:
            return torch.func.functional_call(critic, dict(zip(names, weights, strict=True)), (image,))

        class Called(nn.Module):
            def forward(self, image: Tensor) -> Tensor:
                return called(image)

        return objectives.slope_penalty(Called(), real, fake, share)

    weights = tuple(p.detach().clone().requires_grad_() for p in critic.parameters())
    assert torch.autograd.gradcheck(penalty, weights)


@pytest.mark.parametrize(
    ("name", "generator", "discriminator"),
    [
        ("logistic", math.log1p(math.exp(-2)), math.log1p(math.exp(2)) + math.log1p(math.exp(-3))),
        ("least-squares", 0.5 * (2 - 1) ** 2, 0.5 * ((3 - 1) ** 2 + 2**2)),
        ("wgan-gp", -2.0, 2 - 3 + 1e-3 * 3**2),
    ],
)
def test_objectives_by_hand(name: str, generator: float, discriminator: float) -> None:
    """At a real logit of 3 and a fake one of 2."""
    real, fake = torch.full((4, 1), 3.0), torch.full((4, 1), 2.0)
    objective = objectives.OBJECTIVES[name]
    assert float(objective.generator(fake)) == pytest.approx(generator, rel=1e-5)
    assert float(objective.discriminator(real, fake)) == pytest.approx(discriminator, rel=1e-5)


def test_every_objective_pushes_the_players_apart() -> None:
    """The generator wants its logit up; the discriminator the real one up, the other one down."""
    for objective in objectives.OBJECTIVES.values():
        real, fake = torch.full((2, 1), 0.5, requires_grad=True), torch.full((2, 1), 0.5, requires_grad=True)
        (of_fake,) = torch.autograd.grad(objective.generator(fake), fake)
        assert bool((of_fake < 0).all()), objective.name
        of_real, of_fake = torch.autograd.grad(objective.discriminator(real, fake), (real, fake))
        assert bool((of_real < 0).all()), objective.name
        assert bool((of_fake > 0).all()), objective.name


class LinearGenerator(nn.Module):
    """image = A w summed over rows: its Jacobian is A at every w."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(3 * 4 * 4, 6))

    def synthesis(self, w: Tensor, noise: str) -> Tensor:
        return (w.sum(dim=1) @ self.matrix.t()).view(-1, 3, 4, 4)


def test_path_length_of_a_linear_generator() -> None:
    """|J^T y| = |A^T y| / sqrt(pixels); the running mean moves by `decay` towards the batch mean."""
    generator = LinearGenerator()
    w, noise = torch.randn(5, 2, 6, requires_grad=True), torch.randn(5, 3, 4, 4)
    lengths = (noise.flatten(1) @ generator.matrix).norm(dim=1) / 4.0
    penalty, mean = objectives.path_length_penalty(generator, w, torch.tensor(2.0), 0.1, noise)
    expected_mean = 2.0 + 0.1 * (lengths.mean() - 2.0)
    torch.testing.assert_close(mean, expected_mean.detach())
    torch.testing.assert_close(penalty, (lengths - expected_mean).square().mean())


def test_the_veil_is_added_to_what_the_discriminator_sees() -> None:
    """A instance_noise on the fakes equals the same instance_noise in the generator's output."""
    generator, discriminator = small_networks(stddev_group=4)
    w, instance_noise = generator.mapping(torch.randn(4, 8)).detach(), torch.randn(4, 3, 16, 16)
    loss = objectives.generator_gradients(generator, discriminator, w, instance_noise)
    expected = objectives.generator_loss(discriminator(generator.synthesis(w) + instance_noise))
    torch.testing.assert_close(loss, expected.detach())


def test_generator_step_leaves_the_discriminator_alone() -> None:
    generator, discriminator = small_networks(stddev_group=4)
    objectives.generator_gradients(generator, discriminator, generator.mapping(torch.randn(4, 8)))
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())


def test_losses_closed_form() -> None:
    zero = torch.zeros(3, 1)
    assert float(objectives.generator_loss(zero)) == pytest.approx(0.693147, abs=1e-5)
    assert float(objectives.discriminator_loss(zero, zero)) == pytest.approx(2 * 0.693147, abs=1e-5)


def test_mix_styles() -> None:
    w, other = torch.zeros(2, 3), torch.ones(2, 3)
    mixed = objectives.mix_styles(w, other, torch.tensor([1, 4]).view(2, 1, 1), 4)
    assert mixed[:, :, 0].tolist() == [[0, 1, 1, 1], [0, 0, 0, 0]]


def test_average_has_the_asked_half_life() -> None:
    """Constant weights one away from the average: the distance halves every half-life."""
    average, module = nn.Linear(3, 3), nn.Linear(3, 3)
    for parameter in average.parameters():
        nn.init.zeros_(parameter)
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    beta = objectives.ema_beta(batch=10, n_images=10**9, half_life_kimg=0.1, ramp=0.05)
    for _ in range(10):  # 100 images
        average_weights(average, module, beta)
    torch.testing.assert_close(average.weight, torch.full((3, 3), 0.5))


def test_average_follows_closely_at_the_start() -> None:
    assert objectives.ema_beta(16, 16, 5.0, 0.05) == pytest.approx(0.5)
    assert objectives.ema_beta(16, 10**6, 5.0, 0.05) == pytest.approx(0.5 ** (16 / 5000))
