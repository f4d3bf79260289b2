"""Images and masks from files: every common kind is read, every broken one is a sentence."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gan2shape.core.errors import UserError
from gan2shape.export.inputs import centre_square, read_image, read_mask

SIZE = 32


def picture(width: int = 48, height: int = 48) -> np.ndarray:
    """uint8 [H, W, 3]: red grows to the right, green downwards, blue is constant."""
    red = np.linspace(0, 255, width).round()
    green = np.linspace(0, 255, height).round()
    return np.stack(np.broadcast_arrays(red[None, :], green[:, None], 100.0), -1).astype(np.uint8)


def test_colours_keep_their_place_and_value(tmp_path) -> None:
    Image.fromarray(picture(SIZE, SIZE)).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png", SIZE)
    expected = torch.from_numpy(picture(SIZE, SIZE)).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.allclose(got.image, expected.float(), atol=1e-6)
    assert got.mask is None
    assert got.original_size == (SIZE, SIZE)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "1", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("width", [SIZE - 12, SIZE, 3 * SIZE + 5])
def test_every_mode_and_size_gives_the_same_shape_and_range(mode: str, width: int, tmp_path) -> None:
    suffix = {"CMYK": "tif", "F": "tif", "I": "tif"}.get(mode, "png")
    path = tmp_path / f"a.{suffix}"
    grey = picture(width, width)[..., 0]
    if mode in ("I;16", "I"):
        Image.fromarray((grey.astype(np.uint16) * 257).astype(np.uint16 if mode == "I;16" else np.int32)).save(path)
    elif mode == "F":
        Image.fromarray(grey.astype(np.float32) / 255).save(path)
    else:
        Image.fromarray(picture(width, width)).convert(mode).save(path)
    image = read_image(path, SIZE).image
    assert image.shape == (1, 3, SIZE, SIZE)
    assert float(image.min()) >= -1
    assert float(image.max()) <= 1
    assert float(image[..., -1].mean()) > float(image[..., 0].mean())  # brighter to the right, in every mode


def test_sixteen_bit_grey_keeps_its_range(tmp_path) -> None:
    ramp = np.tile(np.linspace(0, 65535, SIZE).round().astype(np.uint16), (SIZE, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png", SIZE).image
    assert torch.allclose(image[0, 0, 0], torch.linspace(-1, 1, SIZE), atol=1e-4)
    assert torch.equal(image[:, 0], image[:, 2])


def test_alpha_is_the_mask_and_transparent_parts_become_grey(tmp_path) -> None:
    pixels = np.concatenate([picture(SIZE, SIZE), np.zeros((SIZE, SIZE, 1), np.uint8)], -1)
    pixels[8:24, 8:24, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png", SIZE)
    assert float(got.mask.sum()) == 16 * 16
    assert float(got.image[0, :, 0, 0].abs().max()) < 0.01
    opaque = read_image_of(tmp_path, np.concatenate([picture(), np.full((48, 48, 1), 255, np.uint8)], -1))
    assert opaque.mask is None


def read_image_of(folder, pixels: np.ndarray):
    Image.fromarray(pixels).save(folder / "b.png")
    return read_image(folder / "b.png", SIZE)


def test_wide_pictures_lose_their_ends(tmp_path) -> None:
    got = read_image_of(tmp_path, picture(96, SIZE))
    assert got.original_size == (96, SIZE)
    middle = picture(96, SIZE)[:, 32:64]
    assert torch.allclose(got.image[0, 0], torch.from_numpy(middle[..., 0] / 127.5 - 1).float(), atol=1e-6)


def test_shrinking_by_a_whole_factor_is_the_mean_of_the_blocks() -> None:
    image = torch.rand(1, 3, 64, 64)
    blocks = image.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
    assert torch.allclose(centre_square(image, 16), blocks, atol=1e-6)


def test_camera_rotation_is_applied(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: rotate clockwise
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg", SIZE).image
    assert float(image[0, 0, -1].mean()) > float(image[0, 0, 0].mean()) + 1  # red now grows downwards


@pytest.mark.parametrize("at", [29, 31])  # bytes from the EXIF marker: the count and the kind of the second entry
def test_a_picture_whose_exif_is_broken_is_read_as_it_is_stored(at: int, tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    Image.fromarray(picture()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    data = bytearray((tmp_path / "a.jpg").read_bytes())
    data[data.find(b"Exif") + at] = 2
    (tmp_path / "b.jpg").write_bytes(data)
    Image.fromarray(picture()).save(tmp_path / "c.jpg", quality=95)
    assert torch.equal(read_image(tmp_path / "b.jpg", SIZE).image, read_image(tmp_path / "c.jpg", SIZE).image)


def damaged(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "one pixel":
        Image.fromarray(picture(1, 1)).save(buffer, "PNG")
        return buffer.getvalue()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, "PNG")
    whole = buffer.getvalue()
    kinds = {"empty": b"", "text": b"I am no picture", "truncated": whole[: len(whole) // 2], "header": whole[:20]}
    return kinds[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "header", "one pixel"])
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_broken_files_are_one_sentence(kind: str, read, tmp_path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(damaged(kind))
    with pytest.raises(UserError) as raised:
        read(path, SIZE)
    message = str(raised.value)
    assert "broken.png" in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_one_sentence(value: float, tmp_path) -> None:
    grey = picture()[..., 0].astype(np.float32) / 255
    grey[3, 4] = value
    Image.fromarray(grey).save(tmp_path / "a.tif")
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match="not finite"):
            read(tmp_path / "a.tif", SIZE)


def test_missing_files_and_folders_are_one_sentence(tmp_path) -> None:
    for path in (tmp_path / "no.png", tmp_path):
        with pytest.raises(UserError, match="does not exist"):
            read_image(path, SIZE)


def test_mask_is_read_from_grey_or_alpha(tmp_path) -> None:
    grey = np.zeros((64, 64), np.uint8)
    grey[16:48, 16:48] = 255
    Image.fromarray(grey).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", SIZE, (64, 64))
    assert mask.shape == (1, 1, SIZE, SIZE)
    assert float(mask.sum()) == 16 * 16
    Image.fromarray(np.dstack([np.zeros((64, 64, 3), np.uint8), grey])).save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png", SIZE, (64, 64)), mask)


def test_mask_of_a_sample_is_square(tmp_path) -> None:
    Image.fromarray(np.full((64, 48), 255, np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match="48 x 64 pixels but a sample of a generator is square"):
        read_mask(tmp_path / "m.png", SIZE)


def test_mask_of_another_size_or_empty_is_one_sentence(tmp_path) -> None:
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match="64 x 64 pixels but the image is 48 x 40"):
        read_mask(tmp_path / "m.png", SIZE, (48, 40))
    with pytest.raises(UserError, match="empty"):
        read_mask(tmp_path / "m.png", SIZE, (64, 64))
