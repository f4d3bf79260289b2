"""The report page and everything beside it: complete, self-contained, safe against odd names."""

import json
import math
import re

import numpy as np
import pytest
import torch

from gan2shape.core.errors import UserError
from gan2shape.export.bundle import meshes, scene_description, write_all
from gan2shape.export.charts import curves, line_chart
from gan2shape.export.report import render_report, with_total
from tests.export.objects import LIGHT, VIEW, bundle, ellipsoid


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    torch.manual_seed(0)
    made = bundle()
    return made, write_all(made, tmp_path_factory.mktemp("run") / "new" / "folder")


def test_all_files_are_there_and_no_temporary_one_is_left(written) -> None:
    _, files = written
    folder = files["report"].parent
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in files.values()}
    wanted = "mesh.glb mesh_lit.glb depth.png normal.png albedo.png shading.png recon.png input.png mask.png"
    wanted += " scene.npz scene.json config.yaml report.html strip_rotate_3d.png strip_rotate_gan.png"
    assert names == set(wanted.split())
    assert all(path.stat().st_size > 0 for path in files.values())


def test_arrays_read_back_without_pickles(written) -> None:
    made, files = written
    with np.load(files["scene_npz"], allow_pickle=False) as stored:
        assert np.array_equal(stored["depth"], made.depth.numpy())
        assert np.array_equal(stored["latent"], made.latent.numpy())
        assert stored["view"].dtype == np.float32
        assert float(stored["fov_deg"]) == made.fov_deg


def test_scene_json_states_degrees_and_radians_and_the_light(written) -> None:
    _, files = written
    scene = json.loads(files["scene_json"].read_text())
    assert scene["view"]["pitch_rad"] == pytest.approx(VIEW[0])
    assert scene["view"]["yaw_deg"] == pytest.approx(math.degrees(VIEW[1]))
    lx, ly = LIGHT[2:]
    norm = math.sqrt(lx * lx + ly * ly + 1)
    assert scene["light"]["direction_gltf"] == pytest.approx([lx / norm, -ly / norm, 1 / norm])
    assert scene["light"]["elevation_deg"] > 0  # ly < 0 is above
    assert scene["light"]["azimuth_deg"] > 0  # lx > 0 is to the right
    assert scene["depth_png"] == {"near": 0.9, "far": 1.1, "bits": 16}
    assert len(scene["conventions"]) >= 5


def test_page_needs_nothing_from_outside(written) -> None:
    page = written[1]["report"].read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|@import|<link|<iframe", page)
    sources = re.findall(r'src="([^"]*)"', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "<script src" not in page


def test_page_shows_every_part(written) -> None:
    page = written[1]["report"].read_text(encoding="utf-8")
    for text in ("egg", "A test object.", "effect-3D", "effect-GAN", "albedo 1", "joint 1", "n_stages: 2"):
        assert text in page
    assert page.count("<figure") == 1 + 5 + 2 * 7
    assert page.count("<svg") == 3


def test_viewer_gets_the_mesh_that_is_in_the_file(written) -> None:
    made, files = written
    page = files["report"].read_text(encoding="utf-8")
    text = re.search(r'id="viewer-data">(.*?)</script>', page, re.S)[1]
    data = json.loads(text)
    photo, _ = meshes(made)
    import base64

    positions = np.frombuffer(base64.b64decode(data["positions"]), "<f4").reshape(-1, 3)
    faces = np.frombuffer(base64.b64decode(data["faces"]), "<u2").reshape(-1, 3)
    assert np.array_equal(positions, photo.vertices)
    assert np.array_equal(faces, photo.faces)
    assert data["light"]["direction"] == pytest.approx([LIGHT[2], -LIGHT[3], 1.0])


def test_odd_names_are_escaped() -> None:
    hostile = "</script><script>alert(1)</script>"
    made = bundle(32, category=hostile, notes=[hostile], config_yaml=hostile, losses=[], timings={}, strips={})
    page = render_report(made, *meshes(made))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_bundle_without_strips_losses_and_latent_is_written(tmp_path) -> None:
    bare = bundle(32, strips={}, strip_labels={}, losses=[], timings={}, config_yaml="", notes=[], latent=None)
    files = write_all(bare, tmp_path)
    assert "config" not in files
    page = files["report"].read_text(encoding="utf-8")
    assert "Losses" not in page
    assert "Configuration" not in page


def test_nothing_is_written_where_the_mask_is_empty(tmp_path) -> None:
    _, mask = ellipsoid(32)
    with pytest.raises(UserError):
        write_all(bundle(32, mask=mask * 0), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_same_bundle_gives_the_same_bytes(tmp_path) -> None:
    torch.manual_seed(1)
    made = bundle(32)
    first, second = (write_all(made, tmp_path / name) for name in ("a", "b"))
    for name in first:
        if name != "scene_npz":  # zip archives carry the time
            assert first[name].read_bytes() == second[name].read_bytes(), name


def test_total_is_the_last_row_and_counted_once() -> None:
    assert list(with_total({"total": 9.0, "a": 1.0, "b": 2.0}).items()) == [("a", 1.0), ("b", 2.0), ("total", 9.0)]
    assert with_total({"a": 1.0, "b": 2.0})["total"] == 3.0
    assert with_total({}) == {}


def test_scene_description_is_plain_json() -> None:
    json.dumps(scene_description(bundle(32)))


def test_curves_group_by_stage_and_skip_what_is_not_finite() -> None:
    rows = [
        {"stage": "a", "step": 0, "loss": 2.0, "other": float("nan")},
        {"stage": "a", "step": 1, "loss": 1.0, "other": 3.0},
        {"stage": "b", "step": 0, "loss": 5.0, "note": "text"},
    ]
    assert curves(rows) == [("a", {"loss": [(0, 2), (1, 1)], "other": [(1, 3)]}), ("b", {"loss": [(0, 5)]})]


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0], [0.0, -2.0, 5.0], [1e-6, 1.0, 1e3]])
def test_charts_stay_inside_their_frame(values: list[float]) -> None:
    svg = line_chart({"loss": [(float(i), value) for i, value in enumerate(values)]}, "title")
    points = re.search(r'class="line"[^>]*d="M([^"]*)"', svg)[1].split("L")
    xs, ys = zip(*(map(float, point.split()) for point in points), strict=True)
    assert min(xs) >= 52
    assert max(xs) <= 420 - 12
    assert min(ys) >= 12 - 0.1
    assert max(ys) <= 190 - 26 + 0.1


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    rows = [{"stage": "a", "step": step, "loss": float(step)} for step in range(10_001)]
    points = curves(rows)[0][1]["loss"]
    assert len(points) < 300
    assert points[-1] == (10_000, 10_000)
