"""Meshes in other programs: Khronos' validator, trimesh, Open3D, and Embree, which draws from the file's camera."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from gan2shape.core.config import MeshConfig
from gan2shape.core.images import resized, to_uint8
from gan2shape.export.bundle import Bundle, meshes, write_all
from gan2shape.export.mesh_files import write_further
from scripts.check_meshes import draw, grown, load, measure, psnr_db
from tests.export.objects import bundle

ROOT = Path(__file__).resolve().parents[2]
VALIDATE = """
const validator = require('gltf-validator'), fs = require('fs');
const read = name => validator.validateBytes(new Uint8Array(fs.readFileSync(name)));
Promise.all(process.argv.slice(1).map(read)).then(found => console.log(JSON.stringify(found.map(one => one.issues))));
"""
BACKS = ("open", "cap", "mirror", "symmetric")


def has_validator() -> bool:
    """Whether node finds the npm package `gltf-validator` from the checkout's root or by NODE_PATH."""
    if shutil.which("node") is None:
        return False
    command = ["node", "-e", "require('gltf-validator')"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0


def photo_of(made: Bundle, width: int) -> np.ndarray:
    """A picture of `width` pixels with detail that the method's own image does not have, and its mask."""
    rng = np.random.default_rng(0)
    grain = np.kron(rng.integers(-25, 25, (width // 8, width // 8, 3)), np.ones((8, 8, 1)))
    large = to_uint8(resized(made.image, width, "bicubic")[0]).astype(float) + grain
    large[:, width // 2 :, 0] = 255 - large[:, width // 2 :, 0]  # left and right differ
    cover = to_uint8(resized(made.mask, width)[0], lowest=0.0)
    return np.dstack([large.clip(0, 255).astype(np.uint8), cover])


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, tuple[Bundle, dict[str, Path]]]:
    """Runs of the half-ellipsoid: closed in every way, and with a photo of 512 pixels."""
    torch.manual_seed(0)
    bare = bundle(view=torch.zeros(1, 6), strips={}, strip_labels={}, losses=[])
    made = {back: bundle(**{**vars_of(bare), "mesh": MeshConfig(back=back)}) for back in BACKS}
    made["photo"] = bundle(**{**vars_of(bare), "photo": photo_of(bare, 512)})
    return {name: (one, write_all(one, tmp_path_factory.mktemp(name))) for name, one in made.items()}


def vars_of(made: Bundle) -> dict:
    """The fields of a bundle."""
    return {name: getattr(made, name) for name in made.__dataclass_fields__}


@pytest.mark.skipif(not has_validator(), reason="needs node and `npm install --no-save gltf-validator`")
def test_khronos_finds_nothing_to_say(written) -> None:
    paths = [files[name].as_posix() for _, files in written.values() for name in ("mesh", "mesh_lit")]
    done = subprocess.run(["node", "-e", VALIDATE, *paths], cwd=ROOT, capture_output=True, text=True, check=True)
    for path, issues in zip(paths, json.loads(done.stdout), strict=True):
        counts = {kind: issues[kind] for kind in ("numErrors", "numWarnings", "numHints", "numInfos")}
        assert not any(counts.values()), (path, issues["messages"][:3])


@pytest.mark.parametrize("name", ["open", "photo"])
def test_embree_draws_the_photo_from_the_file_s_own_camera(name: str, written) -> None:
    """Upright, facing the viewer, unmirrored, at the texture's resolution."""
    made, files = written[name]
    mask = made.mask[0, 0].numpy() > 0.5
    truth = to_uint8(made.image[0]) if made.photo is None else made.photo[..., :3]
    width = truth.shape[0]
    inside = grown(mask if made.photo is None else made.photo[..., 3] >= 128, -1)
    drawn, covered = draw(files["mesh"], width)
    assert (covered & inside).sum() > 0.995 * inside.sum()
    shown = inside & covered
    assert psnr_db(drawn, truth, shown) >= 40
    for wrong in (drawn[:, ::-1], drawn[::-1]):
        assert psnr_db(wrong, truth, shown & shown[:, ::-1] & shown[::-1]) < 20
    numbers = measure(files["mesh"], mask)
    assert numbers["covered"] >= 0.97
    assert numbers["beyond"] == 0
    assert numbers["steep"] == 0


@pytest.mark.parametrize("name", BACKS)
def test_trimesh_reads_what_was_written(name: str, written) -> None:
    made, files = written[name]
    mesh, camera = load(files["mesh"])
    ours, _ = meshes(made)
    np.testing.assert_allclose(mesh.vertices, ours.vertices, atol=1e-7)
    np.testing.assert_allclose(mesh.visual.uv, ours.uv, atol=1e-6)
    assert mesh.is_watertight == (name != "open")
    assert camera["position"] == [0.0, 0.0, 1.0]
    front = mesh.vertex_normals[mesh.vertices[:, 2].argmax()]
    assert front[2] > 0.9


def test_open3d_reads_it_too(written) -> None:
    o3d = pytest.importorskip("open3d")
    made, files = written["photo"]
    ours, _ = meshes(made)
    model = o3d.io.read_triangle_model(str(files["mesh"]))
    (part,) = model.meshes
    assert len(part.mesh.triangles) == len(ours.faces)
    assert np.allclose(np.asarray(part.mesh.get_max_bound()), ours.vertices.max(0), atol=1e-6)
    albedo = np.asarray(model.materials[0].albedo_img)
    assert albedo.shape[:2] == (512, 512)
    closed = o3d.io.read_triangle_mesh(str(written["cap"][1]["mesh"]))
    closed.merge_close_vertices(1e-9)
    assert closed.is_watertight()


def test_other_formats_hold_the_same_form(written, tmp_path) -> None:
    made, _ = written["photo"]
    ours, _ = meshes(made)
    files = write_further(tmp_path, ours, made.texture, ("obj", "ply", "stl"))
    assert {path.name for path in files.values()} == {
        f"mesh.{suffix}" for suffix in ("obj", "mtl", "png", "ply", "stl")
    }
    obj = trimesh.load_mesh(files["mesh_obj"], process=False)
    np.testing.assert_allclose(obj.triangles, ours.vertices[ours.faces], atol=1e-6)
    np.testing.assert_allclose(obj.visual.uv[obj.faces], ours.uv[ours.faces], atol=1e-6)
    assert np.array_equal(np.asarray(obj.visual.material.image.convert("RGB")), made.texture)
    ply = trimesh.load_mesh(files["mesh_ply"], process=False)
    np.testing.assert_allclose(ply.vertices, ours.vertices, atol=1e-6)
    column, row = (ours.uv * [512, -512] + [0, 512]).astype(int).clip(0, 511).T
    assert np.array_equal(np.asarray(ply.visual.vertex_colors)[:, :3], made.texture[row, column])
    stl = trimesh.load_mesh(files["mesh_stl"], process=False)
    np.testing.assert_allclose(stl.triangles, ours.vertices[ours.faces], atol=1e-6)
    assert write_further(tmp_path / "none", ours, made.texture, ()) == {}
