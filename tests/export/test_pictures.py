"""Pictures: ranges, round trips, captions, and files that appear whole or not at all."""

import numpy as np
import pytest
import torch
from PIL import Image

from gan2shape.core.files import write_atomic
from gan2shape.core.images import SheetLayout, contact_sheet, to_uint8, write_png
from gan2shape.export import pictures


def test_images_round_to_the_nearest_byte_and_clip() -> None:
    values = torch.tensor([-1.5, -1.0, 0.0, 1.0]).view(1, 2, 2).expand(3, 2, 2)
    assert to_uint8(values)[..., 0].tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize("half_range", [0.1, 0.25])
def test_depth_survives_the_16_bit_file(half_range: float, tmp_path) -> None:
    depth = 1 + (torch.rand(1, 1, 32, 32) * 2 - 1) * half_range
    path = write_png(tmp_path / "depth.png", pictures.depth_to_uint16(depth, half_range))
    with Image.open(path) as opened:
        assert opened.mode.startswith("I")
        stored = np.asarray(opened)
    back = pictures.uint16_to_depth(stored, half_range)
    assert np.abs(back - depth[0, 0].numpy()).max() <= half_range / 65535 + 1e-7


def test_depth_beyond_the_range_is_clipped() -> None:
    stored = pictures.depth_to_uint16(torch.tensor([[[[0.5, 0.9], [1.1, 1.5]]]]), 0.1)
    assert stored.tolist() == [[0, 0], [65535, 65535]]


def test_normal_picture_shows_up_as_green_and_the_viewer_as_blue() -> None:
    facing, up = [0.0, 0.0, -1.0], [0.0, -1.0, 0.0]
    normal = torch.tensor([facing, up]).T.reshape(1, 3, 1, 2).expand(1, 3, 2, 2)
    picture = pictures.normal_picture(normal)
    assert picture[0, 0].tolist() == [128, 128, 255]
    assert picture[0, 1].tolist() == [128, 255, 128]


def test_near_is_bright_in_the_depth_picture() -> None:
    depth = torch.tensor([[[[0.95, 1.0], [1.05, 3.0]]]])
    mask = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    picture = pictures.depth_picture(depth, mask)[..., 0]
    assert picture[0, 0] == 255
    assert picture[1, 0] == picture[1, 1] == 0
    assert 120 < picture[0, 1] < 136


def test_what_is_cut_out_keeps_its_colours_under_the_mask_as_alpha(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 2, 3), np.uint8)
    mask = torch.tensor([[[[1.0, 0.0], [0.5, 1.0]]]])
    path = write_png(tmp_path / "normal.png", pictures.cut_out(pixels, mask))
    with Image.open(path) as opened:
        assert opened.mode == "RGBA"
        stored = np.asarray(opened)
    assert (stored[..., :3] == pixels).all()
    assert stored[..., 3].tolist() == [[255, 0], [128, 255]]
    shown = pictures.on_paper(stored)
    assert (shown[0, 0] == pixels[0, 0]).all()
    assert (shown[0, 1] == 255).all()
    assert np.abs(shown[1, 0] - (pixels[1, 0] + 255.0) / 2).max() <= 1


def test_sheet_places_tiles_and_captions() -> None:
    tiles = [np.full((10, 20, 3), value, np.uint8) for value in (10, 60, 110)]
    page = contact_sheet(tiles, n_columns=2)
    assert page.shape == (2 * 10 + SheetLayout.gap_px, 2 * 20 + SheetLayout.gap_px, 3)
    assert page[0, 0, 0] == 10
    assert page[0, 20 + SheetLayout.gap_px, 0] == 60
    assert page[10 + SheetLayout.gap_px, 0, 0] == 110
    captioned = contact_sheet(tiles, ["a", "b", "c"])
    assert captioned.shape[0] == 10 + SheetLayout.label_px
    assert (captioned[10:, :20] < 200).any()  # ink
    with pytest.raises(ValueError, match="labels"):
        contact_sheet(tiles, ["a"])


def test_strip_grows_small_images_and_leaves_large_ones() -> None:
    assert pictures.strip(torch.zeros(3, 3, 16, 16), width=64).shape == (64, 3 * 64 + 2 * SheetLayout.gap_px, 3)
    assert pictures.strip(torch.zeros(2, 3, 96, 96), width=64).shape[0] == 96


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(temporary) -> None:
        temporary.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
