"""Meshes from files: parts, colours, textures and alpha arrive; what is missing is noted, what is broken refused."""

import numpy as np
import pytest
import trimesh
from PIL import Image
from typer.testing import CliRunner

from gan2shape.cli import app
from gan2shape.core.errors import UserError
from gan2shape.export.meshes_in import GREY, read_mesh, read_meshes

PBR = trimesh.visual.material.PBRMaterial


def textured(picture: Image.Image | None, **material) -> trimesh.Trimesh:
    solid = trimesh.creation.box()
    uv = solid.vertices[:, :2] + 0.5
    visual = trimesh.visual.TextureVisuals(uv=uv, material=PBR(baseColorTexture=picture, **material))
    return trimesh.Trimesh(solid.vertices, solid.faces, visual=visual, process=False)


def coloured(rgba, at=(2.0, 0, 0)) -> trimesh.Trimesh:
    solid = trimesh.creation.box()
    solid.apply_translation(at)
    solid.visual.vertex_colors = np.tile(np.array(rgba, np.uint8), (8, 1))
    return solid


def written(path, *solids):
    trimesh.Scene(list(solids)).export(path)
    return path


def test_parts_colours_and_textures_arrive(tmp_path):
    picture = Image.new("RGB", (4, 4), (10, 200, 30))
    path = written(tmp_path / "both.glb", textured(picture, doubleSided=True), coloured([255, 0, 0, 255]))
    mesh = read_mesh(path)
    assert (mesh.name, mesh.notes) == ("both", ())
    painted, plain = sorted(mesh.parts, key=lambda part: part.texture is None)
    assert painted.both_sided
    assert (painted.texture == [10, 200, 30]).all()
    assert painted.corner_uv.shape == (12, 3, 2)
    np.testing.assert_allclose(plain.rgb, np.broadcast_to([1, 0, 0], (12, 3, 3)))
    assert plain.vertices[:, 0].min() > 1


def test_v_counts_downwards(tmp_path):
    (part,) = read_mesh(written(tmp_path / "box.glb", textured(Image.new("RGB", (4, 4))))).parts
    height = part.vertices[part.faces][..., 1]
    np.testing.assert_allclose(part.corner_uv[..., 1], 0.5 - height, atol=1e-6)


def test_alpha_is_cut_where_the_file_says_and_glass_is_left_out(tmp_path):
    picture = Image.new("RGBA", (4, 4), (255, 255, 255, 90))
    (kept,) = read_mesh(written(tmp_path / "mask.glb", textured(picture, alphaMode="MASK", alphaCutoff=0.25))).parts
    assert (kept.texture[..., 3] == 255).all()
    (solid,) = read_mesh(written(tmp_path / "opaque.glb", textured(picture))).parts
    assert solid.texture.shape[2] == 3
    glass = textured(None, baseColorFactor=[255, 255, 255, 60], alphaMode="BLEND")
    assert len(read_mesh(written(tmp_path / "car.glb", glass, coloured([9, 9, 9, 255]))).parts) == 1


def test_missing_textures_are_grey_with_a_note(tmp_path):
    (tmp_path / "box.mtl").write_text("newmtl paint\nmap_Kd lost.png\n")
    lines = ["mtllib box.mtl", "usemtl paint", "v 0 0 0", "v 1 0 0", "v 0 1 0", "vt 0 0", "vt 1 1", "f 1/1 2/1 3/2"]
    (tmp_path / "box.obj").write_text("\n".join(lines))
    mesh = read_mesh(tmp_path / "box.obj")
    assert "grey" in mesh.notes[0]
    assert mesh.parts[0].texture is None
    np.testing.assert_allclose(mesh.parts[0].rgb, GREY)
    solid = trimesh.creation.box()
    solid.export(tmp_path / "plain.stl")
    assert "grey" in read_mesh(tmp_path / "plain.stl").notes[0]


def bad_files(folder):
    (folder / "empty.glb").touch()
    (folder / "broken.glb").write_bytes(b"glTF but not really")
    header = [
        "ply",
        "format ascii 1.0",
        "element vertex 1",
        *(f"property float {axis}" for axis in "xyz"),
        "end_header",
    ]
    (folder / "points.ply").write_text("\n".join([*header, "0 0 0\n"]))
    (folder / "nan.obj").write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (folder / "point.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    (folder / "notes.txt").write_text("no mesh")
    (folder / "folder").mkdir()


@pytest.mark.parametrize(
    ("name", "words"),
    [("empty.glb", "is empty"), ("broken.glb", "cannot be read"), ("points.ply", "no faces"), ("nan.obj", "numbers"),
     ("point.obj", "extent"), ("notes.txt", "no mesh"), ("folder", "holds no mesh"), ("lost.glb", "no mesh")],
)  # fmt: skip
def test_what_cannot_be_rendered_is_refused_in_one_sentence(tmp_path, name, words):
    bad_files(tmp_path)
    with pytest.raises(UserError, match=words):
        read_meshes(tmp_path / name)
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["synth", "--mesh", str(tmp_path / name), "--out", str(out)])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_the_command_renders_a_folder_and_says_what_was_missing(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder / "a.glb", coloured([0, 90, 200, 255]))
    trimesh.creation.box().export(folder / "b.stl")
    out = tmp_path / "out"
    asked = ["synth", "--mesh", str(folder), "--category", "car", "--count", "2", "--size", "32", "--out", str(out)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "b.stl: a part without colour is grey" in done.stderr
    with np.load(out / "truth.npz", allow_pickle=False) as arrays:
        assert arrays["style"].tolist() == ["a", "b"]
    refused = CliRunner().invoke(app, [*asked, "--shards"])
    assert refused.exit_code == 2
