"""Networks that know a category beforehand: what each step of training may move, restarts, and initial depths."""

from dataclasses import replace

import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.core.records import Render
from gan2shape.nn.scene_networks import work_in_bfloat16
from gan2shape.prior.masked_generator import MaskedGenerator
from gan2shape.prior.scene import (
    NETWORK_NAME,
    category_networks,
    pretrained_networks,
    settings,
)
from gan2shape.scene.canvas import Canvas
from gan2shape.scene.render import render
from gan2shape.shape import pretrain as pretraining
from gan2shape.shape.initialize import (
    mirror_mean_depth,
)
from gan2shape.shape.pretrain import (
    Pool,
    PretrainConfig,
    PseudoSource,
    disagreement,
    fit_loss,
    joint_pretraining_loss,
    make_pool,
    pretrain,
    quicker,
)
from gan2shape.shape.pretrain_fit import with_teacher
from tests.shape.tiny import CONFIG, SIZE, Seen, bumps, disc_mask, tiny_generator, with_encoder

TWO_ROUNDS = replace(CONFIG, initial=replace(CONFIG.initial, pretraining_depth_scales=(1.5,)))
PLAN = PretrainConfig(
    n_objects=6, n_fit_objects=4, n_fit=4, n_warm=1, n_joint=4, fit_batch=4, batch=3, n_views=2, keep_every=2
)


@pytest.fixture(scope="module")
def generator() -> Seen:
    tiny = with_encoder(tiny_generator())
    return Seen(tiny.prior, tiny.head)


@pytest.fixture
def target_views() -> tuple[Render, torch.Tensor]:
    """A round bump on a disc, rotated to the left and right, and its masks."""
    mask, views = disc_mask(), torch.zeros(2, 6)
    views[:, 1] = torch.tensor([-0.2, 0.2])
    white = torch.ones(1, 3, SIZE, SIZE)
    made = render(bumps(1), white, torch.ones(2, 1, SIZE, SIZE), views, 10.0, Canvas(mask, -white))
    return made, made.mask


def known_pool(generator: Seen, n: int = 6) -> Pool:
    return make_pool(generator, n, seed=3)


def test_samples_of_the_pool_are_the_generator_s_images_of_their_latents(generator) -> None:
    pool = known_pool(generator)
    assert [len(value) for value in (pool.images, pool.masks, pool.latents, pool.surfaces)] == [6] * 4
    torch.testing.assert_close(pool.images, generator(pool.latents)[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(pool.guesses, generator.prior.guess_latent(pool.images), rtol=0, atol=1e-5)


def test_images_that_are_given_are_learnt_from_as_the_generator_reproduces_them(generator) -> None:
    given = torch.rand(9, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1
    pool = make_pool(generator, 6, seed=3, images=given)
    torch.testing.assert_close(pool.latents, generator.prior.guess_latent(given[:6]), rtol=0, atol=1e-5)
    torch.testing.assert_close(pool.images, generator(pool.latents)[0], rtol=0, atol=1e-5)
    assert pool.originals is None
    assert torch.equal(make_pool(generator, 6, seed=3, images=given, keeps_originals=True).originals, given[:6])
    with pytest.raises(UserError, match="Only 9 of 9 images"):
        make_pool(generator, 10, seed=3, images=given)


def test_pseudo_samples_do_not_move_with_the_light_network_that_is_being_learnt(generator, monkeypatch) -> None:
    torch.manual_seed(0)
    networks, pool, rendered, own_lights = category_networks(CONFIG), known_pool(generator), [], []
    original = pretraining.render_pool

    def recorded(*arguments):
        own_lights.append(arguments[2].detach())
        rendered.append(original(*arguments).image.detach())
        return original(*arguments)

    monkeypatch.setattr(pretraining, "render_pool", recorded)
    for _ in range(2):
        given = PseudoSource(category_networks_of(seed=1), 1.0), pool, generator, CONFIG, PLAN
        joint_pretraining_loss(networks, *given, torch.Generator().manual_seed(0))
        with torch.no_grad():
            networks.light_net.last.bias.add_(0.7)
    assert torch.equal(rendered[0], rendered[2])
    torch.testing.assert_close(own_lights[2], networks.light_mean.expand(PLAN.batch, 4))
    assert float((own_lights[3] - own_lights[1]).abs().min()) > 0.1, "the renders that explain them do"


def category_networks_of(seed: int):
    torch.manual_seed(seed)
    return category_networks(CONFIG)


class Shown(torch.nn.Module):
    """A depth network that reads its answer off the image's red channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.atanh(images[:, :1])


@pytest.mark.parametrize("step", [0, 1])  # as they are, and mirrored
def test_the_fit_compares_each_image_with_its_own_ellipsoid_up_to_the_mean_distance(generator, step: int) -> None:
    half_range, right = CONFIG.render.depth_half_range, torch.linspace(-0.2, 0.2, SIZE).expand(SIZE, SIZE)
    pool = known_pool(generator, 4)
    bump = (bumps(4) - 1) / half_range
    tilts = torch.stack([right, -right, right.t(), 0.5 * right])[:, None]  # none is its own mirror image
    shown = bump - bump.mean((1, 2, 3), keepdim=True) + tilts
    shown = torch.tanh(torch.atanh(shown) - torch.atanh(shown).mean((1, 2, 3), keepdim=True))
    networks = category_networks(CONFIG)
    networks.depth_net = Shown()
    pool = replace(pool, images=shown.expand(-1, 3, -1, -1), depths=1 + half_range * shown)

    def loss(pool: Pool) -> float:
        return fit_loss(networks, pool, CONFIG, PLAN, step, torch.Generator().manual_seed(0)).item()

    assert loss(pool) == pytest.approx(0.0, abs=1e-9)
    assert loss(replace(pool, depths=pool.depths + 0.05)) == pytest.approx(0.0, abs=1e-9)
    uniform = replace(pool, masks=torch.ones_like(pool.masks))  # then the weight is 1.1 everywhere
    wrong = loss(replace(uniform, depths=uniform.depths + half_range * right))
    assert wrong == pytest.approx(1.1 * float(right.square().mean()), rel=1e-3)


@pytest.mark.parametrize("warm", [True, False])
def test_depth_stays_while_view_and_light_warm_up_and_the_rendered_shape_stays_always(generator, warm) -> None:
    torch.manual_seed(0)
    networks, before = category_networks(CONFIG), category_networks(CONFIG)
    rng, source = torch.Generator().manual_seed(0), PseudoSource(before, 1.5, warm)
    joint_pretraining_loss(networks, source, known_pool(generator), generator, CONFIG, PLAN, rng).backward()
    assert all(p.grad is None for p in before.parameters())
    assert all((p.grad is None) == warm for p in networks.depth_net.parameters())
    for network in (networks.view_net, networks.light_net):
        assert all(p.grad.isfinite().all() for p in network.parameters())
        # The view network's last bias cancels between an image and its reference: only weights have to move.
        assert all(p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["smooth_weight", "view_pull", "light_pull", "own_light_pull", "self_weight", "agreement_weight"]
)
def test_each_term_of_joint_training_is_an_error_that_its_weight_multiplies(generator, name: str) -> None:
    networks, pool = category_networks_of(seed=2), known_pool(generator)
    for network in (networks.view_net, networks.light_net):
        network.last.weight.mul_(30)  # or views and lights would be nearly what they should be
    before = PseudoSource(category_networks_of(seed=1), 1.5)

    def loss(weight: float) -> float:
        plan = replace(PLAN, **{name: weight})
        rng = torch.Generator().manual_seed(0)
        return joint_pretraining_loss(networks, before, pool, generator, CONFIG, plan, rng).item()

    none, one, two = loss(0.0), loss(1.0), loss(2.0)
    assert one - none > 1e-5
    assert two - one == pytest.approx(one - none, rel=1e-2)


@pytest.fixture(scope="module")
def whole(generator, tmp_path_factory):
    """Networks of a training that nothing interrupts."""
    before = torch.get_rng_state()
    networks = pretrain(generator, TWO_ROUNDS, PLAN, tmp_path_factory.mktemp("whole") / "state.pt")
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers stay"
    return networks


# Two states are kept in each of the three rounds: within the fit, between rounds, and within the last round.
@pytest.mark.parametrize("stop_after", [1, 2, 5])
def test_an_interrupted_training_continues_bit_for_bit(generator, whole, tmp_path, monkeypatch, stop_after) -> None:
    original, calls = pretraining.save_training, []

    def save_that_dies(*arguments):
        original(*arguments)
        calls.append(1)
        if len(calls) == stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "save_training", save_that_dies)
    with pytest.raises(KeyboardInterrupt):
        pretrain(generator, TWO_ROUNDS, PLAN, tmp_path / "cut.pt")
    monkeypatch.setattr(pretraining, "save_training", original)
    resumed = pretrain(generator, TWO_ROUNDS, PLAN, tmp_path / "cut.pt")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


@pytest.fixture(scope="module")
def teacher(generator) -> Seen:
    """The generator as a pack with scene networks."""
    networks, prior = category_networks_of(seed=4), generator.prior
    stored, configs = {NETWORK_NAME: dict(networks.named_parameters())}, {NETWORK_NAME: settings(CONFIG)}
    prior = replace(prior, networks={**prior.networks, **stored}, network_configs={**prior.network_configs, **configs})
    return replace(generator, prior=prior)


@torch.no_grad()
def test_a_larger_pool_is_taught_what_the_smaller_pack_sees_in_its_area_averages(generator, teacher) -> None:
    known = pretrained_networks(teacher.prior, CONFIG)
    pool = known_pool(generator)
    maps = {name: getattr(pool, name) for name in ("images", "masks", "backgrounds", "surfaces")}
    large = replace(pool, **{k: one.repeat_interleave(2, -1).repeat_interleave(2, -2) for k, one in maps.items()})
    initial = replace(CONFIG.initial, network_depth_scale=1.5)
    taught = with_teacher(large, teacher, replace(CONFIG, initial=initial))
    assert taught.depths.shape[-2:] == (2 * SIZE, 2 * SIZE)
    seen = mirror_mean_depth(known, pool.images, 1.5)
    torch.testing.assert_close(taught.depths, torch.nn.functional.interpolate(seen, scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(taught.raw_views, known.view_net(pool.images))
    torch.testing.assert_close(taught.lights, known.lights(pool.images))


@torch.no_grad()
@pytest.mark.parametrize("step", [0, 1])
def test_the_teacher_s_own_networks_fit_its_views_and_lights(generator, teacher, step: int) -> None:
    known = pretrained_networks(teacher.prior, CONFIG)
    taught = with_teacher(known_pool(generator), teacher, CONFIG)

    def loss(pool: Pool) -> float:
        return fit_loss(known, pool, CONFIG, PLAN, step, torch.Generator().manual_seed(0)).item()

    plain = loss(replace(taught, raw_views=None, lights=None))
    assert loss(taught) == pytest.approx(plain, abs=1e-7)
    assert loss(replace(taught, raw_views=taught.raw_views + 0.1)) == pytest.approx(plain + 0.01, rel=1e-3)
    assert loss(replace(taught, lights=taught.lights - 0.2)) == pytest.approx(plain + 0.04, rel=1e-3)


def test_a_teacher_takes_the_place_of_the_ellipsoids_and_of_all_rounds_but_one(
    generator, teacher, tmp_path, monkeypatch
) -> None:
    learn, rounds = pretraining.learn_round, []

    def counted(index, networks, pool, *more):
        rounds.append((index, pool.depths is not None))
        return learn(index, networks, pool, *more)

    monkeypatch.setattr(pretraining, "learn_round", counted)
    pretrain(generator, TWO_ROUNDS, PLAN, tmp_path / "state.pt", teacher=(teacher, CONFIG))
    assert rounds == [(0, True), (1, False)]
    with pytest.raises(UserError, match="no depth network"):
        pretrain(generator, TWO_ROUNDS, PLAN, tmp_path / "other.pt", teacher=(generator, CONFIG))


def test_networks_begin_at_the_weights_of_a_teacher_of_their_sizes_alone(generator, teacher, tmp_path) -> None:
    none = replace(PLAN, n_fit=0, n_joint=0)
    taught = pretrain(generator, TWO_ROUNDS, none, tmp_path / "state.pt", teacher=(teacher, CONFIG))
    known = dict(pretrained_networks(teacher.prior, CONFIG).named_parameters())
    assert all(torch.equal(weight, known[name]) for name, weight in taught.named_parameters())
    wider = replace(CONFIG, networks=replace(CONFIG.networks, code_dim=2 * CONFIG.networks.code_dim))
    fresh = pretrain(generator, wider, none, tmp_path / "other.pt")
    own = pretrain(generator, wider, none, tmp_path / "wide.pt", teacher=(teacher, CONFIG))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), own.parameters(), strict=True))


def test_projections_agree_whose_depth_is_the_rendered_one_up_to_its_mean_distance(target_views) -> None:
    made, masks = target_views
    assert disagreement(made.depth + 0.02, masks, made, CONFIG).item() == pytest.approx(0.0, abs=1e-5)
    across = torch.linspace(-0.01, 0.01, SIZE)
    assert disagreement(made.depth + across, masks, made, CONFIG).item() > 0.01
    beside = torch.where(masks > 0, made.depth, 0.5)  # nothing beside the object counts
    assert disagreement(beside, masks, made, CONFIG).item() == pytest.approx(0.0, abs=1e-5)


def test_what_cannot_be_learnt_from_is_refused(generator, tmp_path) -> None:
    with pytest.raises(UserError, match="no image encoder"):
        pretrain(tiny_generator(), CONFIG, PLAN, tmp_path / "state.pt")
    with pytest.raises(UserError, match=r"0 of .* images show an object"):
        pretrain(replace(generator, radius_px=0.0), CONFIG, PLAN, tmp_path / "state.pt")


def test_a_state_of_another_generator_is_refused(generator, tmp_path) -> None:
    pretrain(generator, CONFIG, replace(PLAN, n_fit=2, n_joint=0), tmp_path / "state.pt")
    other = with_encoder(tiny_generator(seed=7))
    with pytest.raises(UserError, match="another generator"):
        pretrain(Seen(other.prior, other.head), CONFIG, PLAN, tmp_path / "state.pt")


def test_in_bfloat16_steps_are_nearly_the_exact_ones(generator) -> None:
    networks, pool = category_networks_of(1), known_pool(generator)
    given = PseudoSource(category_networks_of(seed=2))

    def gradient(shown: MaskedGenerator) -> torch.Tensor:
        networks.zero_grad()
        loss = joint_pretraining_loss(networks, given, pool, shown, CONFIG, PLAN, torch.Generator().manual_seed(0))
        loss.backward()
        return torch.cat([p.grad.flatten() for p in networks.parameters()])

    exact = gradient(generator)
    work_in_bfloat16(networks, True)
    near = gradient(quicker(generator))
    assert not torch.equal(near, exact)
    assert torch.nn.functional.cosine_similarity(near, exact, dim=0) > 0.98
    work_in_bfloat16(networks, False)
    assert torch.equal(gradient(generator), exact)


def test_what_is_returned_works_in_full_precision(generator, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(pretraining, "has_fast_bfloat16", lambda device: True)
    networks = pretrain(generator, TWO_ROUNDS, PLAN, tmp_path / "state.pt")
    assert not any(getattr(part, "is_bfloat16", False) for part in networks.modules())
