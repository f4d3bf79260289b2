"""Rows that turn latents and look for known ones: on a tiny generator whose encoder is told what to see."""

from dataclasses import replace

import pytest
import torch

import gan2shape.bench.inversion_rows as rows
from gan2shape.bench.exam import exam_objects
from gan2shape.core.errors import UserError
from gan2shape.invert.method import MethodConfig, StageConfig, StartConfig, TermConfig
from gan2shape.measure.metrics import psnr_db
from gan2shape.restoration.restore import restore_images
from gan2shape.restoration.tasks import Damage
from tests.shape.tiny import tiny_generator, with_encoder

QUICK = MethodConfig(
    start=StartConfig("mean"), terms=(TermConfig("pixel_l2"),), stages=(StageConfig(2, {"latent": 0.1}),)
)


def test_samples_are_the_generators_and_depend_on_their_seed_alone() -> None:
    prior = tiny_generator().prior
    images, w = rows.own_samples([5, 7], prior)
    torch.testing.assert_close(images, prior.generator.synthesis(w).clamp(-1, 1))
    torch.testing.assert_close(rows.own_samples([7], prior)[1], w[1:])
    assert rows.distance_to(w, w, prior) == [0.0, 0.0]
    away = w[:, None] + 2 * prior.w_std
    assert rows.distance_to(away, w, prior) == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize(("space", "kind"), [("Z", "Z"), ("W", "W"), ("W+", "W+"), ("W + N", "W")])
def test_an_edit_moves_the_latent_by_what_the_encoder_sees(space: str, kind: str, monkeypatch) -> None:
    """The object is turned for the encoder by 15 degrees and 0: the picture drawn is that of the moved latent."""
    generator = with_encoder(tiny_generator())
    prior, item = generator.prior, exam_objects("car", "val", 1)[0]
    method = replace(QUICK, space=space, start=StartConfig("best", 4))
    before, after = rows.true_pair(item, prior)
    assert not torch.allclose(before, after)
    restored = restore_images(before, Damage("reconstruct"), method, prior)
    found = rows.turned_numbers(restored, [item], prior)
    z = [prior.encoder(image)[0] for image in (before, after)]
    w = [prior.generator.mapping(one) for one in z]
    latent = restored.solved.states[0]["latent0"]
    if kind == "Z":
        expected = prior.generator.synthesis(prior.generator.mapping(latent + z[1] - z[0]))
    else:
        expected = prior.generator.synthesis(latent + (w[1] - w[0] if kind == "W" else (w[1] - w[0])[:, None]))
    true = psnr_db(expected.clamp(-1, 1), after, torch.ones_like(after[:, :1]) > 0)
    assert found["turned_psnr_db"] == pytest.approx(true.tolist(), abs=1e-2)


def test_the_true_pair_begins_with_the_exam_image() -> None:
    item = exam_objects("car", "val", 1)[0]
    prior = replace(tiny_generator().prior)
    before, _ = rows.true_pair(item, prior)
    small = torch.nn.functional.interpolate(item.image, size=before.shape[-1], mode="area")
    assert float((before - small).abs().mean()) < 0.01


def test_what_cannot_be_turned_is_refused() -> None:
    prior = tiny_generator().prior  # no encoder
    restored = restore_images(rows.own_samples([1], prior)[0], Damage("reconstruct"), QUICK, prior)
    with pytest.raises(UserError, match="needs an encoder"):
        rows.turned_numbers(restored, exam_objects("car", "val", 1), prior)
