"""The photo at its own resolution: the square that the method sees, and colours beyond the object's outline."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from gan2shape.core.errors import UserError
from gan2shape.core.images import resized, to_float
from gan2shape.export import photo
from gan2shape.export.inputs import Framing, read_image
from gan2shape.export.photo import PHOTO_NAME, as_photo, bled, carried_on, eroded, keep_photo, read_photo, stored_photo

SIZE = 32
BAND = photo.BAND_PIXELS


def picture(width: int = 192, height: int = 128) -> np.ndarray:
    """uint8 [H, W, 3]: red grows to the right, green downwards, blue flickers from pixel to pixel."""
    column, row = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([column, row, (column + row) % 2 * 200], -1).astype(np.uint8)


def box(height: int, width: int, left: int, top: int, side: int) -> np.ndarray:
    """uint8 [H, W]: 255 in a square."""
    grey = np.zeros((height, width), np.uint8)
    grey[top : top + side, left : left + side] = 255
    return grey


@pytest.mark.parametrize("left", [None, 0, 60, 150])
def test_the_photo_is_what_the_method_sees_pixel_by_pixel(left: int | None, tmp_path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    mask = None
    if left is not None:
        mask = tmp_path / "m.png"
        Image.fromarray(box(128, 192, left, 40, 42)).save(mask)
    seen = read_image(tmp_path / "a.png", SIZE, mask)
    got = read_photo(tmp_path / "a.png", seen.framing, SIZE, mask)
    start = round(seen.framing.left)
    assert np.array_equal(got[..., :3], picture()[:, start : start + 128])
    torch.testing.assert_close(resized(to_float(got[None, ..., :3]), SIZE), seen.image, atol=1e-5, rtol=0)
    assert got.shape[-1] == (3 if mask is None else 4)
    if mask is not None:
        assert np.array_equal(got[..., 3], box(128, 192, left, 40, 42)[:, start : start + 128])


def test_the_square_may_reach_over_the_edges_and_lie_between_pixels(tmp_path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    got = read_photo(tmp_path / "a.png", Framing(-10.0, -20.0, 150.0), SIZE)
    assert got.shape == (150, 150, 3)
    assert np.array_equal(got[20:148, 10:], picture()[:, :140])
    assert (got[:20, 10:, :2] == picture()[0, :140, :2]).all()  # the edge's own colours
    between = read_photo(tmp_path / "a.png", Framing(20.5, 10.25, 100.0), SIZE)
    expected = np.arange(100) + 21.0  # of red at pixel centres: half way between 20 and 21, rounded
    assert np.abs(between[50, 1:-1, 0] - expected[1:-1]).max() <= 1


def test_small_photos_have_nothing_to_add(tmp_path) -> None:
    Image.fromarray(picture(SIZE, SIZE)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png", Framing(0.0, 0.0, float(SIZE)), SIZE) is None


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_large_photos_are_bounded(suffix: str, tmp_path, monkeypatch) -> None:
    smooth = picture(200, 200)
    smooth[..., 2] = 90
    large = np.repeat(np.repeat(smooth, 3, 0), 3, 1)
    Image.fromarray(large).save(tmp_path / f"a.{suffix}", **({"quality": 95} if suffix == "jpg" else {}))
    monkeypatch.setattr(photo, "MAX_SIDE", 100)
    got = read_photo(tmp_path / f"a.{suffix}", Framing(150.0, 90.0, 400.0), SIZE)
    assert got.shape == (100, 100, 3)
    expected = np.asarray(Image.fromarray(large[90:490, 150:550]).resize((100, 100), Image.Resampling.BOX))
    assert np.abs(got.astype(int) - expected).max() <= 6


@pytest.mark.parametrize("most", [4096, 61, 30])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation_is_cut_out_as_it_is_shown(turn: int, most: int, tmp_path, monkeypatch) -> None:
    """In bands, too, and beyond the edges; Pillow's own rotation of the whole is the oracle."""
    monkeypatch.setattr(photo, "MAX_SIDE", most)
    exif = Image.Exif()
    exif[0x0112] = turn
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        shown = np.asarray(ImageOps.exif_transpose(opened))
    margin = 80
    around = np.pad(shown, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    for left, top, side in ((10, 5, 61), (-30, -20, 122), (25, 40, 122)):
        wanted = around[top + margin : top + margin + side, left + margin : left + margin + side]
        fits = min(side, most)
        expected = np.asarray(Image.fromarray(wanted).resize((fits, fits), Image.Resampling.BOX)).astype(int)
        for pixels in (BAND, 200):
            monkeypatch.setattr(photo, "BAND_PIXELS", pixels)
            got = read_photo(tmp_path / "a.png", Framing(float(left), float(top), float(side)), 16)
            assert np.abs(got.astype(int) - expected).max() <= 1


def test_rotation_transparency_and_deep_grey(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    turned = read_photo(tmp_path / "a.jpg", read_image(tmp_path / "a.jpg", SIZE).framing, SIZE)
    assert turned.shape == (128, 128, 3)
    assert turned[-5, 60, 0] > turned[5, 60, 0] + 80  # red grows downwards now
    clear = np.dstack([picture(64, 64), box(64, 64, 10, 10, 40)])
    Image.fromarray(clear).save(tmp_path / "b.png")
    shown = read_photo(tmp_path / "b.png", Framing(0.0, 0.0, 64.0), SIZE)
    assert np.abs(shown[0, 0, :3].astype(int) - 128).max() <= 1
    assert np.array_equal(shown[20:40, 20:40], clear[20:40, 20:40])
    assert np.array_equal(shown[..., 3], clear[..., 3])
    deep = np.repeat(np.linspace(0, 65535, 64).round().astype(np.uint16)[None], 64, 0)
    Image.fromarray(deep).save(tmp_path / "d.png")
    grey = read_photo(tmp_path / "d.png", Framing(0.0, 0.0, 64.0), SIZE)
    assert np.abs(grey[5, :, 1] - np.linspace(0, 255, 64)).max() <= 1


def test_a_photo_that_is_gone_is_a_sentence(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be read again"):
        read_photo(tmp_path / "a.png", Framing(0.0, 0.0, 64.0), SIZE)


def test_a_run_keeps_its_photo_and_no_earlier_one(tmp_path) -> None:
    assert stored_photo(tmp_path) is None
    keep_photo(tmp_path, picture(64, 64))
    assert np.array_equal(stored_photo(tmp_path), picture(64, 64))
    assert "exif" not in Image.open(tmp_path / PHOTO_NAME).info
    keep_photo(tmp_path, None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / PHOTO_NAME).write_bytes(b"no picture")
    assert stored_photo(tmp_path) is None


@pytest.mark.parametrize("width", [64, 256, 300])
@pytest.mark.parametrize("has_own_mask", [False, True])
def test_the_object_s_colours_go_on_beyond_its_mask(width: int, has_own_mask: bool) -> None:
    """A red object before green, its rim mixed: inside every pixel stays, and nowhere is any green."""
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 20:44] = 1
    mask[..., 15, 20:44] = 0.5
    cover = resized(mask, width)[0, 0].numpy()[..., None]
    red = np.zeros((width, width, 3))
    red[..., 0] = 120 + 100 * np.linspace(0, 1, width)
    pixels = (cover * red + (1 - cover) * [0, 255, 0]).round().astype(np.uint8)
    given = np.dstack([pixels, (255 * cover).round().astype(np.uint8)]) if has_own_mask else pixels
    got = bled(given, mask)
    solid = eroded(torch.from_numpy(cover[None, None, ..., 0] == 1))[0, 0].numpy()
    assert solid.any()
    assert np.array_equal(got[solid], pixels[solid])
    assert got[..., 1].max() < 30
    assert got[..., 0].min() > 100


def test_the_photo_s_own_mask_decides_where_it_has_one() -> None:
    """All of the object but its last pixel stays, although the mask of the method is coarse."""
    fine = np.zeros((256, 256), np.uint8)
    fine[70:190, 81:143] = 255
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    coarse = torch.nn.functional.avg_pool2d(torch.from_numpy(fine / 255).float()[None, None], 8)
    got = bled(np.dstack([pixels, fine]), coarse)
    same = (got == pixels).all(-1)
    assert same[71:189, 82:142].all()
    assert same.mean() < 1.05 * 118 * 60 / 256**2


def test_carrying_on_keeps_what_is_known_and_constants() -> None:
    torch.manual_seed(0)
    values, weight = torch.rand(1, 1, 37, 52), (torch.rand(1, 1, 37, 52) < 0.1).float()
    got = carried_on(values, weight)
    assert torch.equal(got[weight == 1], values[weight == 1])
    assert float(values[weight == 1].min()) - 1e-5 <= float(got.min()) <= float(got.max()) <= float(values.max()) + 1e-5
    constant = carried_on(torch.full_like(values, 0.3) * weight, weight)
    torch.testing.assert_close(constant, torch.full_like(values, 0.3), atol=1e-5, rtol=0)


def test_a_mask_without_a_pixel_of_its_own_changes_nothing() -> None:
    assert np.array_equal(bled(picture(64, 64), torch.full((1, 1, 32, 32), 0.4)), picture(64, 64))


def test_a_tensor_is_a_photo_and_brings_its_mask() -> None:
    image, mask = torch.rand(1, 3, 48, 48) * 2 - 1, torch.ones(1, 1, 48, 48)
    assert as_photo(image, None).shape == (48, 48, 3)
    assert as_photo(image, torch.ones(1, 1, 24, 24)).shape == (48, 48, 3)
    photo_of_both = as_photo(image, mask)
    assert (photo_of_both[..., 3] == 255).all()
    torch.testing.assert_close(to_float(photo_of_both[None, ..., :3]), image, atol=0.005, rtol=0)
