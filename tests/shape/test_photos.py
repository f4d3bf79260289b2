"""From a photo to the image that is explained: masks that are found, and pictures that are left as they are."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gan2shape.bench.exam import exam_objects
from gan2shape.bench.score import score_depth
from gan2shape.core.errors import UserError
from gan2shape.core.images import resized, to_uint8
from gan2shape.core.requests import check_inputs
from gan2shape.export import auto_mask
from gan2shape.export.framing import box_of
from gan2shape.measure.metrics import iou
from gan2shape.prior.open import open_prior
from gan2shape.prior.scene import pretrained_networks
from gan2shape.shape.initialize import mirror_mean_depth
from gan2shape.shape.photos import how_strange, read_framed

SIZE = 64


@pytest.fixture(scope="module")
def prior():
    """The bundled car prior with its configuration."""
    return open_prior("car", device="cpu")


def write_photo(folder: Path, item, scale: int = 4, left: int = 90, top: int = 20) -> tuple[Path, Path]:
    """An exam object on a meadow of 300 x 440 pixels under a sky, and its mask."""
    rng, size = torch.Generator().manual_seed(0), scale * SIZE
    sky, meadow = torch.tensor([0.45, 0.6, 0.85]), torch.tensor([0.25, 0.45, 0.15])
    photo = (
        torch.where(torch.arange(300)[:, None] < 120, 0.0, 1.0)[None] * (meadow - sky)[:, None, None]
        + sky[:, None, None]
    )
    photo = (photo.expand(3, 300, 440) + 0.06 * torch.randn(3, 300, 440, generator=rng)).clamp(0, 1)[None].clone()
    large, cover = (
        resized(item.image / 2 + 0.5, size, "bicubic").clamp(0, 1),
        resized(item.mask, size, "bicubic").clamp(0, 1),
    )
    whole, rows, columns = torch.zeros(1, 1, 300, 440), slice(top, top + size), slice(left, left + size)
    photo[..., rows, columns] = cover * large + (1 - cover) * photo[..., rows, columns]
    whole[..., rows, columns] = cover
    Image.fromarray(to_uint8(photo[0], lowest=0.0)).save(folder / "photo.png")
    Image.fromarray(to_uint8(whole[0], lowest=0.0)[..., 0]).save(folder / "mask.png")
    return folder / "photo.png", folder / "mask.png"


def car(index: int):
    return exam_objects("car", "val", index + 1)[index]


def depth_of(image: torch.Tensor, prior) -> torch.Tensor:
    """What the depth network sees in the encoder's picture: preset instant without the view's tilt."""
    generator, config = prior
    with torch.no_grad():
        made = generator(generator.prior.guess_latent(image))[0]
        return mirror_mean_depth(pretrained_networks(generator.prior, config), made, 1.1)


def test_a_pasted_object_has_nearly_the_depth_that_it_has_in_its_own_image(prior, tmp_path) -> None:
    """The usual size is taken to be its own: otherwise it would be seen smaller or larger, and so would its depth."""
    generator, _ = prior
    for index in (1, 7):
        item = car(index)
        x, y, side = box_of(item.mask)
        known = generator.prior.calibration
        own = replace(known, frame_size=(known.frame_size[0], side / SIZE, known.frame_size[2]),
                      frame_centre=(x / SIZE, y / SIZE))  # fmt: skip
        fitted = replace(generator, prior=replace(generator.prior, calibration=own))
        image, mask = write_photo(tmp_path, item, scale=3, left=220, top=90)
        found = read_framed(image, SIZE, fitted, mask)
        true, here = depth_of(item.image, prior), depth_of(found.image, prior)
        apart = score_depth(here, true, item.mask, item.fov_deg)["side"]
        flat = score_depth(torch.ones_like(true), true, item.mask, item.fov_deg)["side"]
        assert apart < 0.25 * flat, (index, apart, flat)
        untouched = depth_of(read_framed(image, SIZE, open_without_frame(generator)).image, prior)
        assert score_depth(untouched, true, item.mask, item.fov_deg)["side"] > 2 * apart


def open_without_frame(generator):
    """The same generator, of whose images nothing was measured."""
    bare = replace(generator.prior.calibration, frame_size=None, limit_guess_psnr_db=None, limit_feature_distance=None,
                   limit_round_trip=None, limit_mask_iou=None)  # fmt: skip
    return replace(generator, prior=replace(generator.prior, calibration=bare))


def test_a_picture_that_the_prior_knows_stays_as_it_is_without_a_mask(prior, tmp_path) -> None:
    item = car(2)
    Image.fromarray(to_uint8(item.image[0])).save(tmp_path / "own.png")
    found = read_framed(tmp_path / "own.png", SIZE, prior[0])
    assert found.mask is None
    assert found.notes == ()
    assert np.array_equal(to_uint8(found.image[0]), to_uint8(item.image[0]))


def test_an_object_is_found_in_a_photo_without_a_mask(prior, tmp_path) -> None:
    pytest.importorskip("cv2")
    image, mask = write_photo(tmp_path, car(1))
    with_mask, found = read_framed(image, SIZE, prior[0], mask), read_framed(image, SIZE, prior[0])
    assert "GrabCut" in found.notes[-1]
    assert iou(found.mask > 0.5, with_mask.mask > 0.5).item() > 0.85
    assert (
        how_strange(found, prior[0])
        <= 1
        < how_strange(read_framed(image, SIZE, open_without_frame(prior[0])), prior[0])
    )
    asked = read_framed(image, SIZE, prior[0], auto_mask=True)
    assert torch.equal(asked.image, found.image)


def test_without_anything_to_find_masks_with_the_picture_stays_and_says_what_would_help(
    prior, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(auto_mask, "find_spec", lambda name: None)
    image, _ = write_photo(tmp_path, car(1))
    found = read_framed(image, SIZE, prior[0])
    assert found.mask is None
    assert "gan2shape[mask]" in found.notes[-1]


def test_rembg_is_asked_where_its_network_lies_on_the_disk_and_nowhere_else(tmp_path, monkeypatch) -> None:
    pixels, answer = torch.rand(1, 3, 20, 30), np.zeros((20, 30), np.uint8)
    answer[5:15, 8:20] = 255
    fake = SimpleNamespace(
        new_session=lambda name: name, remove=lambda given, session, only_mask: answer if session == "u2net" else None
    )
    monkeypatch.setitem(sys.modules, "rembg", fake)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    monkeypatch.setattr(auto_mask, "find_spec", lambda name: name if name == "rembg" else None)
    assert auto_mask.found_masks(pixels)[0] == []
    (tmp_path / auto_mask.REMBG_MODEL).write_bytes(b"x")
    (mask,), by = auto_mask.found_masks(pixels)
    assert by == "rembg"
    assert np.array_equal(mask[0, 0].numpy(), answer / 255)


def test_an_automatic_mask_belongs_to_an_image() -> None:
    others = {"--mask": Path("auto"), "--generator": None, "--category": None}
    check_inputs({"--image": Path(__file__)}, others, None)
    with pytest.raises(UserError, match="--mask belongs to an --image"):
        check_inputs({"--image": None, "--seed": 1}, others, None)
