"""Class-conditional networks: identity at the start, one class as an ordinary prior, labels, packs, training."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from gan2shape.checkpoints.open import PACK_NAME, inspect
from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.nn.discriminator import Discriminator, DiscriminatorConfig
from gan2shape.nn.generator import Generator, GeneratorConfig
from gan2shape.prior.checkpoint import convert, load_generator
from gan2shape.prior.open import open_prior
from gan2shape.prior.packs import Prior, load_pack, make_prior, of_class, save_pack
from gan2shape.synth import car, dataset
from gan2shape.synth.dataset import prerender, sample_item
from gan2shape.synth.registry import get_category
from gan2shape.train import objectives
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.loop import TrainConfig, train
from gan2shape.train.samples import sample_step
from gan2shape.train.state import CHECKPOINT_NAME, lazy_adam, load_networks, read_checkpoint, save_state
from tests.tiny_pack import SMALL, write_tiny_pack

GENERATOR = GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8, n_mapping=2)
DISCRIMINATOR = DiscriminatorConfig(resolution=16, channels=(8, 6))
CONFIG = TrainConfig(
    kimg=0.032, batch=8, r1_interval=2, path_weight=2.0, path_interval=3, report_kimg=0.008, precision="fp32",
    device="cpu", n_threads=1, labels=True, generator=GENERATOR, discriminator=DISCRIMINATOR,
)  # fmt: skip
N = len(car.STYLES)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    prerender("car", 24, 0, folder, shard=16, workers=1, size=16, labels=True)
    return folder


def conditional(n_classes: int = 3, spread: float = 20.0) -> Prior:
    """Networks whose classes differ, as a pack is made of them."""
    generator, discriminator = (
        Generator(replace(GENERATOR, n_classes=n_classes)),
        Discriminator(replace(DISCRIMINATOR, n_classes=n_classes)),
    )
    with torch.no_grad():
        generator.mapping.embed.normal_(std=spread)
        discriminator.b4.embed.normal_()
    return make_prior(generator, discriminator, {"category": "car", "classes": ["a", "b", "c"]})


def test_with_zero_vectors_a_conditional_network_is_the_unconditional_one() -> None:
    torch.manual_seed(0)
    generator, discriminator = Generator(GENERATOR), Discriminator(DISCRIMINATOR)
    torch.manual_seed(0)
    more = Generator(replace(GENERATOR, n_classes=4)), Discriminator(replace(DISCRIMINATOR, n_classes=4))
    z, labels = torch.randn(6, 8), torch.tensor([0, 1, 2, 3, 0, 1])
    image = generator(z)
    assert torch.equal(more[0](z, labels=labels), image)
    assert torch.equal(more[0](z), image)
    assert torch.equal(more[1](image, labels), discriminator(image))


def test_each_label_s_vector_enters_the_first_layer_before_its_activation() -> None:
    generator = conditional().generator
    z, labels = torch.randn(5, 8), torch.tensor([2, 0, 1, 1, 2])
    mapping = generator.mapping
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt()
    pre = x @ mapping.fc0.weight.t() * (0.01 / 8**0.5) + 0.01 * mapping.fc0.bias + 0.1 * mapping.embed[labels]
    w = mapping.fc1(torch.nn.functional.leaky_relu(pre, 0.2) * 2**0.5)
    torch.testing.assert_close(mapping(z, labels=labels), w)
    torch.testing.assert_close(mapping(z), mapping(z, labels=torch.arange(5) % 3)), "classes take turns"


def test_projection_is_the_product_with_the_last_hidden_layer() -> None:
    critic, image = conditional().discriminator, torch.randn(4, 3, 16, 16)
    seen = {}
    critic.b4.fc.register_forward_hook(lambda module, given, out: seen.update(hidden=out))
    added = critic(image, torch.tensor([1, 1, 0, 2])) - critic(image)
    expected = (seen["hidden"] * critic.b4.embed[[1, 1, 0, 2]]).sum(1, keepdim=True) / 8**0.5
    torch.testing.assert_close(added, expected)


def test_the_class_loss_is_the_cross_entropy_of_the_products_with_the_class_vectors() -> None:
    prior, image, labels = conditional(), torch.randn(4, 3, 16, 16), torch.tensor([1, 1, 0, 2])
    critic, seen = prior.discriminator, {}
    hook = critic.b4.fc.register_forward_hook(lambda module, given, out: seen.update(hidden=out))
    logit, of_each = critic.judge(image, labels)
    hook.remove()
    torch.testing.assert_close(of_each, seen["hidden"] @ critic.b4.embed.t() / 8**0.5)
    torch.testing.assert_close(logit, critic(image, labels))
    probability = of_each.exp() / of_each.exp().sum(1, keepdim=True)
    expected = -probability[torch.arange(4), labels].log().mean()
    torch.testing.assert_close(objectives.class_loss(of_each, labels), expected)
    assert objectives.class_loss(of_each, None) == objectives.class_loss(None, labels) == 0.0


def test_both_players_lower_the_class_loss_by_its_weight_alone() -> None:
    prior, image, labels = conditional(), torch.randn(4, 3, 16, 16), torch.tensor([1, 1, 0, 2])
    generator, critic = prior.generator.requires_grad_(True), prior.discriminator.requires_grad_(True)
    z = torch.randn(4, 8)

    def gradient_of(weight: float) -> tuple[torch.Tensor, torch.Tensor]:
        w = generator.mapping(z, labels=labels)
        objectives.generator_gradients(generator, critic, w, labels=labels, class_weight=weight)
        own = generator.mapping.embed.grad.clone()
        objectives.discriminator_gradients(critic, image, image, labels, labels, class_weight=weight)
        return own, critic.b4.embed.grad.clone()

    (plain, plain_critic), (more, more_critic) = gradient_of(0.0), gradient_of(3.0)
    read = critic.judge(generator.synthesis(generator.mapping(z, labels=labels), "random"), labels)[1]
    (expected,) = torch.autograd.grad(3.0 * torch.nn.functional.cross_entropy(read, labels), generator.mapping.embed)
    torch.testing.assert_close(more - plain, expected, atol=1e-6, rtol=1e-3)
    read = critic.judge(image, labels)[1]
    (expected,) = torch.autograd.grad(3.0 * torch.nn.functional.cross_entropy(read, labels), critic.b4.embed)
    torch.testing.assert_close(more_critic - plain_critic, expected, atol=1e-6, rtol=1e-3)


def test_the_mapping_network_may_learn_at_a_rate_of_its_own() -> None:
    generator = Generator(replace(GENERATOR, n_classes=3))
    before = {name: p.detach().clone() for name, p in generator.named_parameters()}
    optimizer = lazy_adam(generator, 1e-3, 0.99, 0, {"mapping.": 10.0})
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(before)
    for parameter in generator.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()  # Adam's first step is the learning rate, whatever the gradient
    for name, parameter in generator.named_parameters():
        moved = (before[name] - parameter.detach()).mean()
        assert float(moved) == pytest.approx(1e-2 if name.startswith("mapping.") else 1e-3, rel=0.01), name
    assert len(lazy_adam(generator, 1e-3, 0.99, 0, {"mapping.": 1.0}).param_groups) == 1  # as checkpoints have it


@pytest.mark.parametrize("class_index", [0, 2])
def test_one_class_is_an_ordinary_prior(class_index: int) -> None:
    prior, z, labels = conditional(), torch.randn(4, 8), torch.full((4,), class_index)
    one = of_class(prior, class_index)
    assert one.generator.config == GENERATOR
    w = prior.generator.mapping(z, labels=labels)
    torch.testing.assert_close(one.generator.mapping(z), w)
    image = prior.generator.synthesis(w)
    torch.testing.assert_close(one.discriminator(image), prior.discriminator(image, labels))
    many = prior.generator.mapping(torch.randn(20_000, 8), labels=torch.full((20_000,), class_index))
    torch.testing.assert_close(one.w_mean, many.mean(0), atol=0.05, rtol=0.05)
    assert (one.w_mean - prior.w_mean).abs().max() > 0.2
    with pytest.raises(UserError, match="classes 0 to 2 and no class 3"):
        of_class(prior, 3)


def test_a_pack_keeps_its_classes_and_is_opened_as_one_of_them(tmp_path: Path) -> None:
    prior, z = conditional(), torch.randn(3, 8)
    path = save_pack(tmp_path / "pack", prior, torch.float32)
    raw = load_pack(tmp_path / "pack")
    assert raw.generator.config.n_classes == raw.discriminator.config.n_classes == 3
    assert torch.equal(raw.generator.mapping.embed, prior.generator.mapping.embed)
    for index in (0, 1):
        opened, wanted = load_generator(tmp_path / "pack", class_index=index), of_class(prior, index)
        torch.testing.assert_close(opened.generator(z), wanted.generator(z))
        torch.testing.assert_close(opened.w_mean, wanted.w_mean)
        image = opened.generator(z)
        torch.testing.assert_close(opened.discriminator(image), wanted.discriminator(image))
    found = inspect(path)["source"]
    assert (found["n_classes"], found["class_index"]) == (3, 0)
    assert any("0 to 2 (a, b, c); class 0 is used" in note for note in found["notes"])
    with pytest.raises(UserError, match=r"no class 3: give a --class up to 2\.$"):
        load_generator(path, class_index=3)
    convert(path, tmp_path / "one.safetensors", class_index=1)
    torch.testing.assert_close(load_generator(tmp_path / "one.safetensors").generator(z), opened.generator(z))


def test_a_pack_without_classes_is_written_as_before_there_were_any(tmp_path: Path) -> None:
    save_pack(tmp_path, make_prior(Generator(GENERATOR), Discriminator(DISCRIMINATOR)))
    header = (tmp_path / PACK_NAME).read_bytes()[:20_000]
    assert b"n_classes" not in header
    assert load_generator(tmp_path).generator.config == GENERATOR


def test_a_bundled_pack_with_classes_is_opened_by_class(tmp_path: Path, monkeypatch) -> None:
    folder = write_tiny_pack(tmp_path, "car", 32)
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="has no classes: leave out --class"):
        open_prior("car", None, "smoke", SMALL, class_index=1)
    plain = load_pack(folder)
    generator = Generator(replace(plain.generator.config, n_classes=2))
    generator.load_state_dict({**plain.generator.state_dict(), "mapping.embed": torch.randn(2, 8) * 20})
    save_pack(folder, replace(plain, generator=generator.eval()))
    z = torch.randn(2, 8)
    drawn = [open_prior("car", None, "smoke", SMALL, class_index=i)[0].prior.generator(z) for i in (None, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(drawn[0], drawn[2])
    with pytest.raises(UserError, match="no class 2"):
        open_prior("car", None, "smoke", SMALL, class_index=2)


def test_labels_of_shards_are_the_styles_of_their_objects(data: Path, tmp_path: Path) -> None:
    images = ShardedImages(data, 16, labelled=True)
    assert images.classes == tuple(car.STYLES)
    spec = get_category("car")
    styles = [sample_item(spec, seed).mesh.style for seed in (0, 15, 16, 23)]
    found = images.fetch_labels(np.array([0, 15, 16, 23]))
    assert [images.classes[number] for number in found] == styles
    assert ShardedImages(data, 16).classes == ()
    with pytest.raises(UserError, match="shards of other images"):
        prerender("car", 24, 0, data, shard=16, workers=1, size=16)
    with pytest.raises(UserError, match="head have no classes"):
        prerender("head", 2, 0, tmp_path, workers=1, size=16, labels=True)
    prerender("car", 2, 0, tmp_path, workers=1, size=16)
    with pytest.raises(UserError, match="holds no classes"):
        ShardedImages(tmp_path, 16, labelled=True)


def test_a_shard_without_its_labels_is_refused(tmp_path: Path) -> None:
    prerender("car", 2, 0, tmp_path, workers=1, size=16, labels=True)
    (tmp_path / "labels_00000.npy").unlink()
    with pytest.raises(UserError, match=r"labels_00000.npy is missing"):
        ShardedImages(tmp_path, 16, labelled=True)
    np.save(tmp_path / "labels_00000.npy", np.array([0, N], np.uint8))
    with pytest.raises(UserError, match="does not hold the classes of 2 images"):
        ShardedImages(tmp_path, 16, labelled=True)


def test_a_step_s_labels_belong_to_its_images(data: Path) -> None:
    images, device = ShardedImages(data, 16, labelled=True), torch.device("cpu")
    whole = images.first(24)
    for step in range(5):
        samples = sample_step(CONFIG, images, step, 5, device)
        which = (samples.clean[:, None] - whole).abs().amax((2, 3, 4)).argmin(1)
        assert np.array_equal(samples.labels.numpy(), images.fetch_labels(which.numpy()))
        assert torch.equal(samples.made_labels[:4], samples.labels[:4])
    plain = sample_step(replace(CONFIG, labels=False), ShardedImages(data, 16), 4, 5, device)
    assert plain.labels is None
    for name in ("real", "z", "z_mix", "cutoff", "instance_noise", "clean", "posterior_noise"):
        assert torch.equal(getattr(plain, name), getattr(samples, name)), name


@pytest.mark.parametrize("autoencoding_share", [0.5, 0.0])
def test_training_teaches_both_players_the_classes(data: Path, tmp_path: Path, autoencoding_share: float) -> None:
    state = train(data, tmp_path / "out", replace(CONFIG, autoencoding_share=autoencoding_share))
    assert state.generator.config.n_classes == N
    assert (state.average.mapping.embed.abs().sum(1) > 0).all()
    assert (state.discriminator.b4.embed.abs().sum(1) > 0).all()
    generator, discriminator = load_networks(tmp_path / "out")
    assert torch.equal(generator.mapping.embed, state.average.mapping.embed)
    assert discriminator.config.n_classes == N


def test_training_from_a_pack_without_classes_begins_with_what_that_draws(data: Path, tmp_path: Path) -> None:
    plain = make_prior(Generator(GENERATOR), Discriminator(DISCRIMINATOR), {"training": {"kimg": 1.0}})
    save_pack(tmp_path / "pack", plain, torch.float32)
    config = replace(CONFIG, kimg=1.0)  # nothing is left to do: the state is the start
    state = train(data, tmp_path / "out", config, start_from=tmp_path / "pack")
    z = torch.randn(N, 8)
    assert torch.equal(state.average(z, labels=torch.arange(N)), load_pack(tmp_path / "pack").generator(z))
    save_pack(tmp_path / "five", make_prior(state.average, state.discriminator), torch.float32)
    with pytest.raises(UserError, match="other networks"):
        train(data, tmp_path / "less", replace(config, labels=False), start_from=tmp_path / "five")


def test_a_checkpoint_from_before_there_were_classes_goes_on(data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, labels=False, kimg=0.016)
    state = train(data, tmp_path, config)
    saved = read_checkpoint(tmp_path / CHECKPOINT_NAME)
    for name in ("generator_config", "discriminator_config"):
        del saved[name]["n_classes"]
    torch.save(saved, tmp_path / CHECKPOINT_NAME)
    again = train(data, tmp_path, replace(config, kimg=0.024))
    assert again.step == state.step + 1
    with pytest.raises(UserError, match="another configuration"):
        train(data, tmp_path, replace(config, labels=True))
    save_state(again, tmp_path)
    assert asdict(load_networks(tmp_path)[0].config) == asdict(GENERATOR)


def test_verbs_render_labels_and_learn_them(data: Path, tmp_path: Path, monkeypatch) -> None:
    shards, out = tmp_path / "shards", tmp_path / "out"
    monkeypatch.setattr(dataset, "prerender", lambda *a, **k: prerender(*a, **{**k, "workers": 1}))  # no processes
    arguments = f"synth --category car --count 3 --size 16 --shards --labels --out {shards}".split()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert json.loads((shards / "shards.json").read_text())["classes"] == list(car.STYLES)
    settings = [
        "generator={resolution: 16, channels: [8, 8, 6], z_dim: 8, w_dim: 8, n_mapping: 2}",
        *("discriminator={resolution: 16, channels: [8, 6]}", "batch=4", "n_threads=1", "precision=fp32"),
    ]
    arguments = f"train --data {data} --out {out} --kimg 0.004 --labels --device cpu".split()
    result = CliRunner().invoke(app, arguments + settings)
    assert result.exit_code == 0, result.output
    assert load_networks(out)[0].config.n_classes == N
    result = CliRunner().invoke(app, ["synth", "--labels", "--out", str(tmp_path / "pictures")])
    assert result.exit_code == 2
    assert "--labels belongs to --shards" in result.stderr
