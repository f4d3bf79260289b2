"""Images and masks from files: every common kind is read, every broken one is a sentence."""

import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

import gan2shape
from gan2shape.core.errors import UserError
from gan2shape.export import inputs
from gan2shape.export.inputs import Framing, centre_square, read_image, read_mask

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
    assert got.framing == Framing(left=32.0, top=0.0, size=float(SIZE))
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
    for path, why in ((tmp_path / "no.png", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=why):
            read_image(path, SIZE)


def test_heic_is_named_and_the_first_of_several_pictures_is_taken(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64))
    with pytest.raises(UserError, match=r"HEIC.*save it as PNG or JPEG"):
        read_image(tmp_path / "a.png", SIZE)
    first = Image.new("RGB", (64, 64), (200, 30, 30))
    first.save(tmp_path / "b.gif", save_all=True, append_images=[Image.new("RGB", (64, 64), (0, 0, 250))])
    found = read_image(tmp_path / "b.gif", SIZE)
    assert float(found.image[0, 0].mean()) > 0.4
    assert "2 pictures: the first one" in found.notes[0]


def test_a_picture_of_too_many_pixels_is_not_called_damaged(tmp_path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    chunks = (struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(UserError, match=r"more than 178 million pixels: save a smaller copy\.$"):
        read_image(tmp_path / "a.png", SIZE)


def test_a_drawing_is_given_to_no_other_program(tmp_path, monkeypatch) -> None:
    """Pillow lets Ghostscript run the program that an EPS file is."""
    Image.fromarray(picture()).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *given, **more: pytest.fail("Ghostscript was called"))
    with pytest.raises(UserError, match="not a picture that can be read"):
        read_image(tmp_path / "a.png", SIZE)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")

    def refused(path, *given, **more):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(UserError, match=r"cannot be read \(permission denied\): check the file\."):
        read_image(tmp_path / "a.png", SIZE)


def test_a_large_deep_picture_is_read_in_strips_as_a_whole(tmp_path, monkeypatch) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (301, 403), dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    monkeypatch.setattr(inputs, "MAX_PIXELS", 20_000)
    whole = read_image(tmp_path / "deep.png", 32).image
    monkeypatch.setattr(inputs, "STRIP_ROWS", 10)
    assert torch.equal(read_image(tmp_path / "deep.png", 32).image, whole)
    assert abs(float(whole.mean()) - (levels.mean() / 65535 * 2 - 1)) < 0.02


def test_mask_is_read_from_grey_or_alpha(tmp_path) -> None:
    grey = np.zeros((64, 64), np.uint8)
    grey[16:48, 16:48] = 255
    Image.fromarray(grey).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", SIZE)
    assert mask.shape == (1, 1, SIZE, SIZE)
    assert float(mask.sum()) == 16 * 16
    Image.fromarray(np.dstack([np.zeros((64, 64, 3), np.uint8), grey])).save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png", SIZE), mask)


def test_mask_of_a_sample_is_square(tmp_path) -> None:
    Image.fromarray(np.full((64, 48), 255, np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(UserError, match="48 x 64 pixels but a sample of a generator is square"):
        read_mask(tmp_path / "m.png", SIZE)


def test_mask_of_another_size_or_empty_is_one_sentence(tmp_path) -> None:
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "m.png")
    Image.fromarray(picture(48, 40)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="64 x 64 pixels but the image is 48 x 40"):
        read_image(tmp_path / "a.png", SIZE, tmp_path / "m.png")
    with pytest.raises(UserError, match="empty"):
        read_mask(tmp_path / "m.png", SIZE)


def box(height: int = 64, width: int = 64, top: int = 16, left: int = 16, side: int = 32) -> np.ndarray:
    """A white square on black, uint8 [H, W]."""
    grey = np.zeros((height, width), np.uint8)
    grey[top : top + side, left : left + side] = 255
    return grey


def ramped(grey: np.ndarray) -> np.ndarray:
    """A soft mask whose brightest pixel has .6."""
    return (grey * np.linspace(0.56, 0.6, grey.shape[1])).astype(np.uint8)


def with_alpha(grey: np.ndarray, alpha: np.ndarray) -> Image.Image:
    """A grey picture with an alpha channel."""
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def stray(value: int) -> np.ndarray:
    """An alpha channel that is opaque but for one pixel."""
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[3, 5] = value
    return alpha


MASKS = {
    "0 and 1": Image.fromarray(box() // 255),
    "0 and 1 of 16 bits": Image.fromarray((box() // 255).astype(np.uint16)),
    "red": Image.fromarray(np.dstack([box(), np.zeros((64, 64, 2), np.uint8)])),
    "soft": Image.fromarray(ramped(box())),
    "one transparent pixel": with_alpha(box(), stray(0)),
    "all transparent": with_alpha(box(), np.zeros((64, 64), np.uint8)),
    "alpha of 0 and 1": with_alpha(np.zeros((64, 64), np.uint8), box() // 255),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_every_kind_mark_their_object(name: str, tmp_path) -> None:
    MASKS[name].save(tmp_path / "m.png")
    Image.fromarray(picture(64, 64)).save(tmp_path / "a.png")
    expected = torch.from_numpy(box()[::2, ::2] > 0)[None, None]
    for mask in (read_mask(tmp_path / "m.png", SIZE), read_image(tmp_path / "a.png", SIZE, tmp_path / "m.png").mask):
        assert torch.equal(mask > 0.5, expected)
        assert float(mask.max()) == pytest.approx(1.0)


def test_one_transparent_pixel_of_an_image_is_no_mask(tmp_path) -> None:
    pixels = np.dstack([picture(64, 64), stray(0)])
    assert read_image_of(tmp_path, pixels).mask is None
    assert read_image_of(tmp_path, np.dstack([picture(64, 64), box() // 255])).mask.mean() == pytest.approx(0.25)


BAD_MASKS = {
    "inverted": (255 - box(), "seems to be inverted"),
    "inverted and off the centre": (255 - box(top=2, left=30), "seems to be inverted"),
    "inverted portrait": (255 - box(top=32), "seems to be inverted"),
    "noise": (np.random.default_rng(0).integers(0, 6, (64, 64), np.uint8), "brightest pixel has 2.0 % of white"),
    "the same everywhere": (np.full((64, 64), 90, np.uint8), "the same everywhere"),
    "a speck": (box(side=3), "marks hardly anything"),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_that_cannot_be_used_are_named_for_what_they_are(name: str, tmp_path) -> None:
    grey, reason = BAD_MASKS[name]
    Image.fromarray(grey).save(tmp_path / "m.png")
    Image.fromarray(picture(64, 64)).save(tmp_path / "a.png")
    for read in (lambda: read_mask(tmp_path / "m.png", SIZE),
                 lambda: read_image(tmp_path / "a.png", SIZE, tmp_path / "m.png")):  # fmt: skip
        with pytest.raises(UserError, match=reason):
            read()


@pytest.mark.parametrize("cut", [{"top": 20, "side": 44}, {"left": 2, "top": 2, "side": 60}, {"left": 0, "side": 20}])
def test_objects_at_the_border_are_not_taken_for_inverted(cut: dict, tmp_path) -> None:
    Image.fromarray(box(**cut)).save(tmp_path / "m.png")
    assert float(read_mask(tmp_path / "m.png", SIZE).sum()) == pytest.approx(box(**cut).mean() / 255 * SIZE**2, rel=0.1)


@pytest.mark.parametrize(("left", "first"), [(160, 128), (100, 84), (60, 44), (0, 0)])
def test_the_square_follows_the_mask(left: int, first: int, tmp_path) -> None:
    """In a picture of 192 x 64, an object that the centre square would cut."""
    Image.fromarray(picture(192, 64)).save(tmp_path / "a.png")
    Image.fromarray(box(64, 192, left=left)).save(tmp_path / "m.png")
    got = read_image(tmp_path / "a.png", 64, tmp_path / "m.png")
    assert float(got.mask.sum()) == 32 * 32
    expected = torch.from_numpy(picture(192, 64)[:, first : first + 64]).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(got.image, expected.float(), atol=1e-5, rtol=0)
    Image.fromarray(np.dstack([picture(192, 64), box(64, 192, left=left)])).save(tmp_path / "b.png")
    assert torch.equal(read_image(tmp_path / "b.png", 64).mask, got.mask)
    assert got.framing == Framing(left=float(first), top=0.0, size=64.0)


def test_an_object_longer_than_the_shorter_side_is_kept_whole(tmp_path) -> None:
    Image.fromarray(picture(200, 64)).save(tmp_path / "a.png")
    grey = np.zeros((64, 200), np.uint8)
    grey[20:44, 10:150] = 255
    Image.fromarray(grey).save(tmp_path / "m.png")
    got = read_image(tmp_path / "a.png", SIZE, tmp_path / "m.png")
    assert float(got.mask.sum()) == pytest.approx(24 * 140 * (SIZE / 154) ** 2, rel=0.02)
    assert bool(got.image.isfinite().all())
    torch.testing.assert_close(got.image[..., 0, :], got.image[..., 4, :])  # the edge's own colours above it


@pytest.mark.parametrize("highest", [255, 1023, 4095, 16383])
@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_fewer_bits_in_a_deeper_file_are_scaled_and_noted(highest: int, kind: type, tmp_path) -> None:
    ramp = np.tile(np.linspace(0, highest, SIZE).round().astype(kind), (SIZE, 1))
    Image.fromarray(ramp).save(tmp_path / "a.tif")
    got = read_image(tmp_path / "a.tif", SIZE)
    torch.testing.assert_close(got.image[0, 0, 0], torch.linspace(-1, 1, SIZE), atol=0.01, rtol=0)
    assert f"no value above {highest}: {highest} is taken for white" in got.notes[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_large_pictures_are_reduced_first_and_look_the_same(suffix: str, tmp_path, monkeypatch) -> None:
    """Colours, rotation, mask and named size are those of the picture at full size."""
    large = np.repeat(np.repeat(picture(200, 120), 3, 0), 3, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(large).save(path, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
    turned = box(600, 360, top=380, left=120, side=150)
    Image.fromarray(turned).save(tmp_path / "m.png")
    whole = read_image(path, SIZE, tmp_path / "m.png")
    monkeypatch.setattr(inputs, "MAX_PIXELS", 20_000)
    reduced = read_image(path, SIZE, tmp_path / "m.png")
    assert whole.original_size == reduced.original_size == (360, 600)
    for name in ("left", "top", "size"):  # in pixels of the file, to a pixel of the reduced picture
        assert getattr(reduced.framing, name) == pytest.approx(getattr(whole.framing, name), abs=3), name
    torch.testing.assert_close(reduced.image, whole.image, atol=0.03, rtol=0)
    torch.testing.assert_close(reduced.mask, whole.mask, atol=0.25, rtol=0)  # at the outline
    deep = np.repeat(np.linspace(0, 65535, 300).round().astype(np.uint16)[None], 200, 0)
    Image.fromarray(deep).save(tmp_path / "d.png")
    deep_reduced = read_image(tmp_path / "d.png", SIZE).image
    monkeypatch.undo()
    torch.testing.assert_close(deep_reduced, read_image(tmp_path / "d.png", SIZE).image, atol=0.03, rtol=0)


LARGE = {  # kinds of 81 megapixels, each with what Pillow holds of it in memory
    "jpg": ("RGB", "a.jpg", {"quality": 30}),
    "16-bit png": ("I;16", "a.png", {"compress_level": 1}),
    "rgb png": ("RGB", "a.png", {"compress_level": 1}),
    "rgba png": ("RGBA", "a.png", {"compress_level": 1}),
    "palette png": ("P", "a.png", {"compress_level": 1}),
    "float tiff": ("F", "a.tif", {}),
    "cmyk jpg": ("CMYK", "a.jpg", {"quality": 30}),
}


@pytest.mark.parametrize("kind", [
    one if one == "jpg" else pytest.param(one, marks=pytest.mark.slow) for one in LARGE
])  # fmt: skip
def test_81_megapixels_need_less_than_a_gigabyte(kind: str, tmp_path) -> None:
    """To be read, and to be cut out as a texture, in a process of its own, torch included.

    Linux keeps ru_maxrss across exec, so that of a child starts at what pytest held when it forked; VmHWM starts anew.
    """
    mode, name, options = LARGE[kind]
    Image.new(mode, (10_400, 7_800), 200 if mode in ("I;16", "F", "P") else (200, 90, 30, 99)[: len(mode)]).save(
        tmp_path / name, **options
    )
    code = (
        "import resource, sys; from pathlib import Path; from gan2shape.export.inputs import read_image;"
        "from gan2shape.export.photo import read_photo;"
        "path = Path(sys.argv[1]); read_photo(path, read_image(path, 64).framing, 64);"
        "status = Path('/proc/self/status');"
        "peak = status.read_text().split('VmHWM:')[1].split()[0] if status.exists() else"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "print(peak)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / name)]
    known = {**os.environ, "PYTHONPATH": str(Path(gan2shape.__file__).parent.parent)}
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=120, check=True)
    kilobytes = int(done.stdout) / (1024 if sys.platform == "darwin" else 1)
    assert kilobytes < 750_000  # the command around it takes less than 250 MB more
