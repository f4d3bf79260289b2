"""Effects of an object with known form: signs, what cancels, what is added; and what an edit leaves in its folder."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gan2shape.core.errors import UserError
from gan2shape.core.records import Render
from gan2shape.edit.animate import write_animations
from gan2shape.edit.controls import Pose, poses_of
from gan2shape.edit.effects import Editable, effect_of, own_render, pose_like, project_poses, render_poses
from gan2shape.edit.record import EditRecord, read_edit, write_edit
from tests.edit.egg import Egg, make_egg
from tests.export.objects import LIGHT
from tests.shape.tiny import SIZE


@pytest.fixture
def egg() -> Egg:
    return make_egg()


def halves(render: Render) -> tuple[float, float, float, float]:
    """Mean brightness of the left, right, upper and lower half of the object."""
    image, mask = render.image[0].mean(0), render.mask[0, 0]
    means = [float((image * m).sum() / m.sum()) for m in (
        mask * (torch.arange(SIZE) < SIZE // 2), mask * (torch.arange(SIZE) >= SIZE // 2),
        mask * (torch.arange(SIZE) < SIZE // 2)[:, None], mask * (torch.arange(SIZE) >= SIZE // 2)[:, None],
    )]  # fmt: skip
    return means[0], means[1], means[2], means[3]


def test_lights_come_from_where_they_are_named(egg) -> None:
    left, right, _, _ = halves(render_poses(egg, [Pose(direction=(-1.0, 0.0))]))
    assert left > right + 0.1
    _, _, upper, lower = halves(render_poses(egg, [Pose(direction=(0.0, -1.0))]))
    assert upper > lower + 0.1


def test_a_positive_yaw_turns_the_front_to_the_left(egg) -> None:
    dot = egg.scene.albedo.clone()
    dot[..., SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2] = 1.0
    dotted = replace(egg, scene=replace(egg.scene, albedo=dot))
    columns = torch.arange(SIZE) + 0.5

    def place(pose: Pose) -> float:
        bright = (render_poses(dotted, [pose]).image[0].mean(0) > 0.5).float()
        return float((bright * columns).sum() / bright.sum())

    assert place(Pose(yaw_deg=20)) < place(Pose()) - 0.5 < place(Pose(yaw_deg=-20)) - 1.0


def test_a_pose_that_changes_nothing_has_the_inputs_latent(egg) -> None:
    assert isinstance(egg, Editable)
    effect = effect_of(egg, Pose())
    assert torch.equal(effect.latents, egg.observation.latent)
    assert torch.equal(effect.images, egg.observation.image)
    projected = project_poses(egg, render_poses(egg, [Pose()]), [Pose()])  # the renderer's own errors cancel
    assert torch.equal(projected.latents, egg.observation.latent)


def test_latent_edits_are_added_to_every_projection(egg) -> None:
    pose, offset = Pose(yaw_deg=15, direction=(-1.0, 0.0)), torch.randn(1, egg.generator.prior.generator.n_layers, 8)
    plain, edited = effect_of(egg, pose), effect_of(egg, pose, offset)
    assert not torch.equal(plain.latents, egg.observation.latent)
    assert torch.allclose(edited.latents - plain.latents[:, None], offset, atol=1e-6)
    assert torch.equal(plain.rendered.image, edited.rendered.image)
    assert torch.allclose(effect_of(egg, Pose(), offset).latents, egg.observation.latent[:, None] + offset)


def test_many_poses_are_each_as_if_alone(egg) -> None:
    poses = [Pose(yaw_deg=float(yaw)) for yaw in range(-10, 10, 2)]  # more than are worked on at once
    together = project_poses(egg, render_poses(egg, poses), poses)
    for i in (0, 9):
        assert torch.allclose(together.latents[i], effect_of(egg, poses[i]).latents[0], atol=1e-6)
    assert together.images.shape == (10, 3, SIZE, SIZE)


def test_the_pose_of_another_picture(egg) -> None:
    view, light = pose_like(egg, own_render(egg))
    assert (view.pitch_deg, view.yaw_deg) == pytest.approx((5.7296, -11.459), abs=1e-3)
    assert light.direction == pytest.approx((0.3, -0.3))
    assert light.ambient == 0  # no strength is below 0
    known = pose_like(egg, own_render(egg), torch.tensor([LIGHT]))[1]
    assert (known.ambient, known.diffuse, *known.direction) == pytest.approx(LIGHT)


def test_an_edit_goes_on_from_its_folder(egg, tmp_path) -> None:
    pose, offset = Pose(yaw_deg=15, direction=(-1.0, 0.5)), torch.randn(1, 8)
    record = EditRecord("../run", "egg", "both", pose, ({"kind": "slider", "name": "0", "value": 1.0},), "abc")
    own = egg.scene.light
    rest = (egg.observation.image, effect_of(egg, pose, offset), offset, pose.view(own), pose.light(own))
    files = write_edit(tmp_path, record, *rest)
    assert read_edit(tmp_path)[0] == record
    assert torch.equal(read_edit(tmp_path)[1], offset)
    page = json.loads((tmp_path / "edit.json").read_text())
    assert set(page["files"]) | {"edit.json"} == {path.name for path in files.values()}
    with np.load(tmp_path / "edit.npz") as arrays:
        assert torch.equal(torch.from_numpy(arrays["latent"]), rest[1].latents)
        assert arrays["light"][0].tolist() == pytest.approx([0.5, 0.6, -1.0, 0.5])
    write_edit(tmp_path / "flat", replace(record, mode="3d"), *rest)
    assert not (tmp_path / "flat" / "effect_gan.png").exists()
    (tmp_path / "edit.json").write_text('{"format": "gan2shape-edit-1"}')
    with pytest.raises(UserError, match="damaged or of another version"):
        read_edit(tmp_path)


def test_animations_have_a_frame_for_each_pose(egg, tmp_path) -> None:
    files = write_animations(tmp_path, egg, poses_of("yaw=-30:30", Pose(), 10), fps=10)
    assert set(files) == {"animation_3d", "animation_gan"}
    with Image.open(files["animation_3d"]) as opened:
        assert (opened.n_frames, opened.info["duration"], opened.info["loop"]) == (10, 100, 0)
        first = np.asarray(opened.convert("RGB"), dtype=int)
        opened.seek(5)
        assert np.abs(np.asarray(opened.convert("RGB"), dtype=int) - first).mean() > 1
    with pytest.raises(UserError, match=r"\.gif or \.mp4"):
        write_animations(tmp_path, egg, [Pose()], suffix=".avi")


def test_video(egg, tmp_path) -> None:
    pytest.importorskip("av", reason="the extra `video` is not installed")
    imageio = pytest.importorskip("imageio.v3", reason="the extra `video` is not installed")
    files = write_animations(tmp_path, egg, poses_of("light=circle", Pose(), 6), None, ("3d",), suffix=".mp4")
    frames = imageio.imread(files["animation_3d"], plugin="pyav")
    assert frames.shape[0] == 6
    assert np.abs(frames[0].astype(int) - frames[3]).mean() > 1
