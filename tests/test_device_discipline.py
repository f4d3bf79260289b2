"""Nothing mixes devices, and step loops do not wait for the device: shown on a pretended one, without a GPU."""

import collections
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.api import reconstruct
from gan2shape.core.progress import silent
from gan2shape.prior.masked_generator import MaskedGenerator, observe_latent
from gan2shape.scene.camera import project
from gan2shape.scene.height_field import grid_faces
from gan2shape.scene.mesh_raster import rasterize
from gan2shape.scene.render import render_depth
from gan2shape.shape import reconstruct as method
from gan2shape.train import loop as training
from tests.devices import DEVICE, IS_POSSIBLE, NAME, SEEDS, MixedDevicesError, pretended_device
from tests.shape import tiny
from tests.tiny_pack import FEW_STEPS, SMALL, disc_mask, write_tiny_pack
from tests.train.test_training import CONFIG as TRAINING
from tests.train.test_training import write_shard

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="this torch offers no backend in Python")
WAITS_A_RENDER = 2  # for the number of tests of the first and of the second triangle of all cells


# ---------------------------------------------------------------------------------------------------------- the harness


def test_the_pretended_device_refuses_what_cuda_refuses() -> None:
    with pretended_device():
        ours, other = torch.ones(3, device=DEVICE), torch.ones(3)
        for mix in (lambda: ours + other, lambda: torch.cat([ours, other]), lambda: other @ ours,
                    lambda: ours.index_select(0, torch.tensor([1]))):  # fmt: skip
            with pytest.raises(MixedDevicesError):
                mix()
        with pytest.raises(MixedDevicesError, match="random numbers"):
            torch.rand(3, generator=torch.Generator(), device=DEVICE)
        with pytest.raises(RuntimeError):
            ours.numpy()
        assert float((ours * torch.tensor(2.0)).sum()) == 6.0  # a number may come from the CPU
        assert ours[torch.tensor([0, 2])].cpu().tolist() == [1.0, 1.0]  # and so may indices


WAITS: dict[str, tuple[Callable[[torch.Tensor], object], str | None]] = {
    "item": (lambda x: x.sum().item(), "read"),
    "float": (lambda x: float(x.sum()), "read"),
    "truth": (lambda x: bool((x > 0).all()), "read"),
    "nonzero": (lambda x: x.nonzero(), "shape"),
    "selection": (lambda x: x[x > 0], "shape"),
    "cpu": (lambda x: x.cpu(), "download"),
    "list": (lambda x: x.tolist(), "download"),
    "literal": (lambda x: x.new_tensor([1.0, 2.0]), "upload"),
    "upload": (lambda x: torch.ones(3).to(x.device), "upload"),
    "upload that goes on": (lambda x: torch.ones(3).to(x.device, non_blocking=True), None),
    "filled by a mask": (lambda x: x.clone().masked_fill_(x > 0, 1.0), None),
    "sum": (lambda x: (x * 2).sum(), None),
}


@pytest.mark.parametrize(("work", "kind"), WAITS.values(), ids=WAITS)
def test_the_harness_notes_where_the_host_waits(work: Callable, kind: str | None) -> None:
    with pretended_device() as watch:
        x = torch.ones(3, device=DEVICE)
        watch.noted.clear()
        work(x)
        assert {wait.kind for wait in watch.noted} == ({kind} if kind else set())


def test_gradients_and_views_work_on_the_pretended_device() -> None:
    with pretended_device():
        x = torch.arange(4.0, device=DEVICE, requires_grad=True)
        (x.view(2, 2)[1] ** 2).sum().backward()
        assert x.grad.cpu().tolist() == [0.0, 0.0, 4.0, 6.0]


# ----------------------------------------------------------------------------------------------------------- the method


@pytest.mark.parametrize(
    ("category", "preset"),
    [("car", "draft"), ("head", "draft"), ("car", "full"), pytest.param("head", "paper", marks=pytest.mark.slow)],
)
def test_a_run_does_not_mix_devices(category: str, preset: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    write_tiny_pack(tmp_path, category, 32)
    overrides = (
        *SMALL,
        *FEW_STEPS,
        "ablation.view_self_weight=0.1",
        "steps.feature_weight=0.1",
        "ablation.refine_steps=1",
        "ablation.fit_steps=2",
        *(["n_stages=1"] if preset == "paper" else []),
    )
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    given = {"category": category, "preset": preset, "overrides": overrides, "mask": disc_mask(32)}
    # An image goes through inversion; a sample of the generator does not.
    given |= {"image": image} if preset == "full" else {"seed": 3}
    SEEDS.clear()
    with pretended_device():
        made = reconstruct(**given, device=NAME, state_dir=tmp_path)
        again = reconstruct(**given, device=NAME, state_dir=tmp_path)  # from the state
        files = made.export(tmp_path / "run")
    assert SEEDS == [], "the device's own random numbers are the caller's"
    assert made.scene.depth.device == again.scene.depth.device == DEVICE
    assert all(path.stat().st_size > 0 for path in files.values())
    with np.load(files["scene_npz"], allow_pickle=False) as scene:
        assert np.isfinite(scene["depth"]).all()
        if preset == "draft":  # and gives what the CPU gives
            on_cpu = reconstruct(**given, device="cpu").scene
            np.testing.assert_allclose(scene["depth"], on_cpu.depth.numpy(), rtol=0, atol=1e-6)


def on_device(generator: MaskedGenerator) -> MaskedGenerator:
    """The generator moved to the pretended device."""
    prior = generator.prior
    for network in (prior.generator, prior.discriminator, generator.head):
        network.to(DEVICE)
    networks = {name: {key: t.to(DEVICE) for key, t in state.items()} for name, state in prior.networks.items()}
    moved = replace(prior, w_mean=prior.w_mean.to(DEVICE), w_cov=prior.w_cov.to(DEVICE), networks=networks)
    return replace(generator, prior=moved)


def stage(albedo: str = "quotient", view_self_weight: float = 0.0, **steps: object) -> collections.Counter:
    """Where the host waits in one stage of the tiny generator on the pretended device, and how often."""
    networks = replace(tiny.CONFIG.networks, albedo=albedo)
    steps = {"n_albedo": (2,), "n_projection": (2,), "n_joint": (2,), "n_collect": 4, "batch": 4, **steps}
    config = replace(
        tiny.CONFIG, n_stages=1, initial=replace(tiny.CONFIG.initial, slants_deg=(10.0,)), networks=networks,
        steps=replace(tiny.CONFIG.steps, **steps),
        ablation=replace(tiny.CONFIG.ablation, view_self_weight=view_self_weight),
    )  # fmt: skip
    with pretended_device() as watch:
        generator = on_device(tiny.with_encoder(tiny.tiny_generator()))
        latent = generator.prior.w_mean[None]
        observation = observe_latent(latent, generator, tiny.disc_mask().to(DEVICE))
        watch.noted.clear()
        method.reconstruct(observation, generator, config, silent)
    return watch.counts()


# The loop's length, renders in a step, and settings.
LOOPS = {
    "projection": ("n_projection", 1, {}),
    "joint": ("n_joint", 1, {"feature_weight": 0.1}),
    "joint that reads its own renders": ("n_joint", 2, {"view_self_weight": 0.1}),
    "albedo": ("n_albedo", 0, {"albedo": "network", "feature_weight": 0.1}),
}


@pytest.mark.parametrize(("length", "renders", "settings"), LOOPS.values(), ids=LOOPS)
def test_a_step_waits_only_for_the_z_buffer(length: str, renders: int, settings: dict) -> None:
    """What five steps more add, before the tenth, at which the loss is read."""
    few, many = (stage(**settings, **{length: (n,)}) for n in (2, 7))
    many.subtract(few)
    extra = {key: n / 5 for key, n in many.items() if n}
    assert sum(extra.values()) == WAITS_A_RENDER * renders, extra
    assert all(place.startswith("scene/zbuffer.py") for _, place, _ in extra), extra


def test_guards_and_reports_read_the_loss_at_each_tenth_step() -> None:
    few, many = stage(n_projection=(9,)), stage(n_projection=(10,))
    many.subtract(few)
    extra = {place: (kind, n) for (kind, place, _), n in many.items() if n and "zbuffer" not in place}
    assert list(extra.values()) == [("read", 1), ("read", 1)], extra  # is it finite, and what is reported
    assert all(place.startswith("invert/loop.py") for place in extra)


def test_a_render_waits_twice_and_is_the_cpus() -> None:
    rng = torch.Generator().manual_seed(0)
    depth = 1 + 0.05 * torch.randn(2, 1, 24, 24, generator=rng)
    depth[0, 0, 3, 4] = torch.nan
    view = 0.4 * torch.randn(2, 6, generator=rng) * torch.tensor([1, 1, 1, 0.05, 0.05, 0.05])
    wanted = render_depth(depth, view, 10.0)
    with pretended_device() as watch:
        depth, view = depth.to(DEVICE), view.to(DEVICE)
        watch.noted.clear()
        found = render_depth(depth, view, 10.0)
        assert len(watch.noted) == WAITS_A_RENDER, watch.counts()
        for ours, theirs in zip(found, wanted, strict=True):
            assert torch.equal(ours.cpu().nan_to_num(7.0), theirs.nan_to_num(7.0))


def test_a_mesh_is_rasterised_as_on_the_cpu() -> None:
    rng = torch.Generator().manual_seed(0)
    vertices = torch.rand(2, 49, 3, generator=rng) * 30 + torch.tensor([0.0, 0.0, 1.0])
    camera = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    vertices = torch.cat([project(vertices, camera)[..., :2] * 12, vertices[..., 2:]], -1)
    vertices[0, 5] = torch.nan
    wanted = rasterize(vertices, grid_faces(7), 32, 32)
    with pretended_device():
        found = rasterize(vertices.to(DEVICE), grid_faces(7, DEVICE), 32, 32)
        assert torch.equal(found.face.cpu(), wanted.face)
        assert torch.equal(found.depth.cpu(), wanted.depth)
    assert (wanted.face >= 0).float().mean() > 0.1


# --------------------------------------------------------------------------------------------------------- GAN training


@pytest.mark.parametrize("autoencoding_share", [0.5, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_does_not_mix_devices_and_never_waits(
    autoencoding_share: float, dtype: torch.dtype, tmp_path: Path, monkeypatch
) -> None:
    write_shard(tmp_path / "images_000.npy", 24, 0)
    monkeypatch.setattr("gan2shape.train.ranks.choose_device", lambda name: DEVICE)
    precision = "fp32" if dtype == torch.float32 else "bf16"
    config = replace(TRAINING, kimg=0.016, autoencoding_share=autoencoding_share, precision=precision)
    with pretended_device() as watch:
        state = training.train(tmp_path, tmp_path / "out", config)  # sheets, checkpoint, journal too
        images = training.ShardedImages(tmp_path, 16)
        watch.noted.clear()
        for _ in range(12):  # every penalty is applied
            training.train_step(config, state, images, dtype, DEVICE)
        assert watch.counts() == {}
    assert state.generator.w_avg.device == DEVICE
