"""Figures that can tell: how near the generator comes to an image, and a warning where it does not know it."""

from dataclasses import replace

import pytest
import torch

from gan2shape.api import metrics, reconstruct
from gan2shape.core.errors import UserError
from gan2shape.measure.metrics import psnr_db
from gan2shape.prior.open import open_prior
from gan2shape.shape.verdict import OUTSIDE_PSNR_DB, require_picture, warnings_about
from tests.tiny_pack import FEW_STEPS, SMALL, disc_mask, write_tiny_pack

SIZE = 32


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A draft run on a pack that has learnt nothing."""
    monkeypatch.setenv("GAN2SHAPE_WEIGHTS", str(tmp_path))
    write_tiny_pack(tmp_path, "car", SIZE)
    return lambda **given: reconstruct(device="cpu", overrides=(*SMALL, *FEW_STEPS), mask=disc_mask(SIZE), **given)


def test_the_figure_of_an_image_is_of_what_the_generator_makes_of_it(run) -> None:
    made = run(image=torch.rand(1, 3, SIZE, SIZE) * 2 - 1)
    image = made.observation.image
    with torch.no_grad():
        expected = psnr_db(made.generator(made.observation.latent)[0], image, made.observation.mask > 0.5).item()
    assert metrics(made)["inversion_psnr_db"] == pytest.approx(expected)
    assert expected < OUTSIDE_PSNR_DB  # noise; a render with its divided albedo would have more than 40
    (warning,) = made.warnings
    assert f"within {expected:.1f} dB" in warning
    bundle = made.bundle()
    assert bundle.notes[0] == warning
    assert bundle.inversion_psnr_db == pytest.approx(expected)


def test_a_sample_has_no_such_figure(run) -> None:
    made = run(seed=1)
    assert made.inversion_psnr_db is None
    assert made.warnings == ()
    assert not any("psnr" in name for name in metrics(made))


def test_the_limit_is_not_claimed_for_a_custom_generator(run) -> None:
    generator, _ = open_prior("car", device="cpu")
    assert warnings_about(OUTSIDE_PSNR_DB + 0.1, generator) == ()
    assert len(warnings_about(OUTSIDE_PSNR_DB - 0.1, generator)) == 1
    custom = replace(generator, prior=replace(generator.prior, card={"checkpoint": "x.pkl"}))
    assert warnings_about(5.0, custom) == ()


@pytest.mark.parametrize("value", [-1.0, 0.3, 1.0, float("nan"), float("inf")])
def test_an_image_in_which_nothing_can_be_seen_is_refused(value: float, run) -> None:
    image = torch.full((1, 3, SIZE, SIZE), value)
    with pytest.raises(UserError, match="flat colour" if abs(value) <= 1 else "not finite"):
        run(image=image)
    require_picture(torch.cat([image[..., :16].nan_to_num(0, 0), torch.full((1, 3, SIZE, 16), 0.5)], -1))
