"""The loop: data that grows, checkpoints, exact continuation after a crash, schedules, sheets."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gan2shape.core.devices import choose_device, choose_dtype, choose_threads
from gan2shape.core.errors import UserError
from gan2shape.core.images import BARE, contact_sheet, to_float, to_uint8
from gan2shape.nn.discriminator import DiscriminatorConfig
from gan2shape.nn.generator import GeneratorConfig
from gan2shape.nn.image_encoder import ENCODER_NAME
from gan2shape.prior.packs import make_prior, save_pack
from gan2shape.train import loop as training
from gan2shape.train.dataset import ShardedImages
from gan2shape.train.loop import TrainConfig, learning_rate_factor, train
from gan2shape.train.samples import instance_noise_sd
from gan2shape.train.sheets import samples_sheet
from gan2shape.train.state import CHECKPOINT_NAME, add_encoder, load_networks, new_state, start_from_pack

CONFIG = TrainConfig(
    kimg=0.048,
    batch=8,
    lr_decay_from=1.0,
    r1_interval=4,
    path_weight=2.0,
    path_interval=3,
    report_kimg=0.008,
    flips=True,
    precision="fp32",
    device="cpu",
    n_threads=1,
    generator=GeneratorConfig(resolution=16, channels=(8, 8, 6), z_dim=8, w_dim=8, n_mapping=2),
    discriminator=DiscriminatorConfig(resolution=16, channels=(8, 6)),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_shard(folder / "images_000.npy", 24, 0)
    return folder


def write_shard(path: Path, n: int, seed: int) -> None:
    np.save(path, np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8))


def weights(state: training.TrainState) -> dict[str, torch.Tensor]:
    modules = {"g": state.generator, "d": state.discriminator, "a": state.average}
    return {f"{key}.{n}": t.clone() for key, module in modules.items() for n, t in module.state_dict().items()}


def test_a_killed_run_continues_bit_for_bit(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, checkpoint_seconds=0.0)
    whole = weights(train(data, tmp_path / "whole", config))
    step, calls = training.train_step, []

    def step_that_dies(*arguments: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(training, "train_step", step_that_dies)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "parts", config)
    monkeypatch.setattr(training, "train_step", step)
    (tmp_path / "parts" / (CHECKPOINT_NAME + ".tmp")).write_bytes(b"half a checkpoint")
    with (tmp_path / "parts" / "stats.jsonl").open("a") as stream:
        stream.write('{"kimg": 0.0')  # the line that a kill cut off
    continued = weights(train(data, tmp_path / "parts", config))
    assert all(torch.equal(whole[name], continued[name]) for name in whole)
    lines = [json.loads(line) for line in (tmp_path / "parts" / "stats.jsonl").read_text().splitlines()]
    assert [line["kimg"] for line in lines] == [0.008, 0.016, 0.024, 0.032, 0.04, 0.048]


def test_output_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    state = train(data, out, CONFIG)
    assert {"checkpoint.pt", "config.json", "reals.png", "stats.jsonl", "fakes000000.png"} <= {
        p.name for p in out.iterdir()
    }
    generator, discriminator = load_networks(out)
    assert torch.equal(generator.synthesis.b16.conv1.weight, state.average.synthesis.b16.conv1.weight)
    assert torch.equal(discriminator.b4.out.weight, state.discriminator.b4.out.weight)
    assert samples_sheet(generator, tmp_path / "sheet.png", n_images=5, n_columns=3).exists()


@pytest.mark.parametrize("autoencoding_share", [0.5, 0.0])
def test_fifty_real_steps_in_bfloat16(data: Path, tmp_path: Path, autoencoding_share: float) -> None:
    """Everything that is kept between steps stays float32, and the encoder's reproduction gets better."""
    config = replace(CONFIG, precision="bf16", kimg=0.4, autoencoding_share=autoencoding_share)
    state = train(data, tmp_path / "out", config)
    assert state.step == 50
    for module in (state.average, state.discriminator, *filter(None, [state.encoder_average])):
        for name, tensor in module.state_dict().items():
            assert tensor.dtype == torch.float32, name
            assert tensor.isfinite().all(), name
    lines = [json.loads(line) for line in (tmp_path / "out" / "stats.jsonl").read_text().splitlines()]
    if autoencoding_share:
        assert lines[-1]["pixel"] < lines[0]["pixel"]


def test_wgan_gp_trains_its_critic_more_often(data: Path, tmp_path: Path) -> None:
    """Five updates of the critic to one of the generator, its slope penalised at each, R1 never."""
    config = replace(
        CONFIG, objective="wgan-gp", critic_steps=5, autoencoding_share=0.0, path_weight=0.0, kimg=0.08, lr=1e-3
    )
    state = train(data, tmp_path / "out", config)
    lines = [json.loads(line) for line in (tmp_path / "out" / "stats.jsonl").read_text().splitlines()]
    assert ["generator" in line for line in lines] == [step % 5 == 0 for step in range(10)]
    assert all("slope" in line and "r1" not in line for line in lines)
    steps = [next(iter(o.state.values()))["step"] for o in (state.generator_optimizer, state.discriminator_optimizer)]
    assert [int(n) for n in steps] == [2, 10]


def test_objectives_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match="objective=hinge is unknown"):
        replace(CONFIG, objective="hinge")
    with pytest.raises(ValueError, match="autoencoding_share=0"):
        replace(CONFIG, critic_steps=5)


@pytest.mark.parametrize("objective", ["wgan-gp", "least-squares"])
def test_other_objectives_reproduce_images_too(data: Path, tmp_path: Path, objective: str) -> None:
    config = replace(CONFIG, objective=objective, kimg=0.2)
    train(data, tmp_path / "out", config)
    lines = [json.loads(line) for line in (tmp_path / "out" / "stats.jsonl").read_text().splitlines()]
    assert lines[-1]["pixel"] < lines[0]["pixel"]
    assert ("slope" in lines[0]) == (objective == "wgan-gp")


def test_averaged_generator_differs_and_w_avg_follows(data: Path, tmp_path: Path) -> None:
    state = train(data, tmp_path / "out", CONFIG)
    assert not torch.equal(state.generator.synthesis.b4.const, state.average.synthesis.b4.const)
    assert torch.equal(state.generator.w_avg, state.average.w_avg)
    assert state.generator.w_avg.abs().max() > 0


def test_foreign_or_damaged_checkpoint_is_refused(data: Path, tmp_path: Path) -> None:
    train(data, tmp_path / "out", replace(CONFIG, kimg=0.008))
    wider = replace(CONFIG, generator=replace(CONFIG.generator, channels=(8, 8, 8)))
    with pytest.raises(UserError, match="another configuration"):
        train(data, tmp_path / "out", wider)
    (tmp_path / "out" / CHECKPOINT_NAME).write_bytes(b"nonsense")
    with pytest.raises(UserError, match="no readable checkpoint"):
        train(data, tmp_path / "out", CONFIG)


def test_settings_may_change_between_runs(data: Path, tmp_path: Path) -> None:
    """A resumed run keeps Adam's moments and obeys the new learning rate and penalty."""
    train(data, tmp_path / "out", replace(CONFIG, kimg=0.016, path_weight=0.0))
    state = train(data, tmp_path / "out", replace(CONFIG, kimg=0.024, lr=5e-4))
    assert state.step == 3
    assert state.generator_optimizer.param_groups[0]["lr"] == pytest.approx(5e-4 * 3 / 4)
    assert state.generator_optimizer.state[state.generator.synthesis.b4.const]["step"] >= 3


def test_shards_appear_while_training(data: Path) -> None:
    images = ShardedImages(data, 16)
    assert len(images) == 24
    write_shard(data / "images_001.npy", 5, 1)
    whole = (data / "images_001.npy").read_bytes()
    (data / "images_002.npy").write_bytes(whole[: len(whole) // 2])  # its writer is still busy
    assert images.rescan() == 29
    np.testing.assert_array_equal(
        images.fetch(np.array([24, 3])), [np.load(data / f"images_00{s}.npy")[i] for s, i in ((1, 0), (0, 3))]
    )
    (data / "images_002.npy").write_bytes(whole)
    assert images.rescan() == 34


def test_several_folders_count_image_by_image_and_take_turns_at_first(data: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "images_000.npy", 3, 7)
    images = ShardedImages([data, tmp_path], 16)
    assert len(images) == 27
    ours, theirs = ShardedImages(data, 16).first(24), ShardedImages(tmp_path, 16).first(3)
    first = images.first(8)
    for index, wanted in enumerate([ours[0], theirs[0], ours[1], theirs[1], ours[2], theirs[2], ours[3], ours[4]]):
        assert torch.equal(first[index], wanted)
    assert len(images.first(100)) == 27
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty"):
        ShardedImages([data, tmp_path / "empty"], 16)


def test_unusable_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no images"):
        ShardedImages(tmp_path, 16)
    np.save(tmp_path / "images_0.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="not uint8"):
        ShardedImages(tmp_path, 16)


def test_flips_mirror_about_half_of_the_images(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, None, :, None], (4, 16, 16, 3))
    np.save(tmp_path / "images_0.npy", ramp)
    images = ShardedImages(tmp_path, 16)
    sampled = images.sample(400, np.random.default_rng(0), flips=True)
    mirrored = sampled[:, 0, 0, 0] > sampled[:, 0, 0, -1]
    assert 0.4 < mirrored.float().mean() < 0.6
    torch.testing.assert_close(sampled[mirrored][0].flip(-1), sampled[~mirrored][0])
    straight = images.sample(40, np.random.default_rng(0), flips=False)
    assert (straight[:, 0, 0, 0] < straight[:, 0, 0, -1]).all()


def test_pixel_values() -> None:
    pixels = np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=3)
    assert to_float(pixels)[:, 0, 0, 0].tolist() == [-1.0, 1.0]


def test_learning_rate_schedule() -> None:
    config = replace(CONFIG, kimg=1.0, lr_decay_from=0.8, lr_final=0.1)
    factors = [learning_rate_factor(config, n) for n in (0, 800, 900, 1000, 2000)]
    assert factors == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])


def test_a_bare_sheet_places_images_row_by_row() -> None:
    images = torch.linspace(-1, 1, 3).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    sheet = contact_sheet(to_uint8(images), n_columns=2, layout=replace(BARE, scale=2))
    assert sheet.shape == (8, 8, 3)
    assert [int(sheet[0, 0, 0]), int(sheet[0, 4, 0]), int(sheet[4, 0, 0]), int(sheet[4, 4, 0])] == [0, 128, 255, 0]


def test_hardware_choices() -> None:
    cpu = choose_device("cpu")
    assert choose_dtype("fp32", cpu) == torch.float32
    assert choose_dtype("bf16", cpu) == torch.bfloat16
    assert choose_dtype("auto", cpu) in (torch.float32, torch.bfloat16)
    n_threads = torch.get_num_threads()
    assert choose_threads(1, cpu) == 1
    torch.set_num_threads(n_threads)
    with pytest.raises(UserError, match="precision"):
        choose_dtype("fp8", cpu)
    with pytest.raises(UserError, match="device"):
        choose_device("abacus")


def test_a_training_can_begin_with_a_pack(data: Path, tmp_path: Path) -> None:
    """The networks and the image count come from the pack; the first checkpoint is not a fresh network."""
    state = train(data, tmp_path / "first", CONFIG)
    prior = make_prior(state.average, state.discriminator, {"training": {"kimg": state.n_images / 1000}})
    pack = save_pack(tmp_path / "pack", prior, dtype=torch.float32)
    goal = replace(CONFIG, kimg=state.n_images / 1000)
    continued = train(data, tmp_path / "second", goal, start_from=pack)
    assert continued.n_images == state.n_images
    for a, b in zip(continued.generator.parameters(), state.average.parameters(), strict=True):
        assert torch.equal(a, b)
    other = replace(CONFIG, generator=replace(CONFIG.generator, z_dim=CONFIG.generator.z_dim + 1))
    with pytest.raises(UserError, match="other networks"):
        train(data, tmp_path / "third", other, start_from=pack)


def test_an_encoder_of_other_sizes_begins_as_the_discriminator_s_trunk() -> None:
    sizes = (CONFIG.generator, CONFIG.discriminator, 1e-3, 0.99, 0, 0)
    state, known = (new_state(*sizes, seed, torch.device("cpu")) for seed in (0, 1))
    for one in (state, known):
        add_encoder(one, 1e-3, 0.99, seed=0)
    wider = {name: weight.repeat_interleave(2, 0) for name, weight in known.encoder.state_dict().items()}
    start_from_pack(state, replace(make_prior(known.average, known.discriminator), networks={ENCODER_NAME: wider}), 1)
    shared = state.discriminator.state_dict().keys() & state.encoder.state_dict().keys()
    trunk = [name for name in shared if name.split(".")[0] in state.encoder.block_names]
    assert len(trunk) > 2
    for name in trunk:
        assert torch.equal(state.encoder.state_dict()[name], known.discriminator.state_dict()[name]), name


def test_the_instance_noise_falls_from_its_start_to_its_end() -> None:
    config = replace(CONFIG, instance_noise_start=0.3, instance_noise=0.05, instance_noise_fade_kimg=10.0)
    wanted = {0: 0.3, 5000: 0.175, 10_000: 0.05, 90_000: 0.05}
    assert {n: pytest.approx(instance_noise_sd(config, n)) for n in wanted} == wanted
