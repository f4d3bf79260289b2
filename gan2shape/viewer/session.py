"""One client of the viewer: his controls, his 3D view, his picture. Nothing is shared between clients but the runs.

Callbacks of the page only note what is wanted. A thread of the session draws the newest wish, so that a slider that
moves faster than pictures are made skips some of them and never lags behind.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan2shape.core.errors import UserError
from gan2shape.edit.effects import Editable, Own, own_of
from gan2shape.viewer.gallery import Gallery, thumbnails
from gan2shape.viewer.live import WAYS, Controls, live_picture, with_light_of
from gan2shape.viewer.surface import ViewedSurface, quaternion, rotation_in_page

if TYPE_CHECKING:
    import viser

SLIDERS = {  # of `Controls`: label, least, greatest, step
    "yaw_deg": ("Yaw, degrees", -60.0, 60.0, 1.0),
    "pitch_deg": ("Pitch, degrees", -40.0, 40.0, 1.0),
    "azimuth_deg": ("Light, right of the camera", -70.0, 70.0, 1.0),
    "elevation_deg": ("Light, above the camera", -60.0, 60.0, 1.0),
    "depth_scale": ("Depth scale", 0.0, 2.0, 0.05),
    "before_part": ("Before / after", 0.0, 1.0, 0.02),
}
SETTLE_S = 0.1  # that the page needs to read a new mesh, before the old one goes
MOST_OPEN = 8  # runs whose pictures are shown at once: more would push the sliders off the page
WIRE_RGB = (30, 30, 30)


@dataclass(frozen=True)
class Shown:
    """A run that is open."""

    subject: Editable
    surface: ViewedSurface
    own: Own


class Session:
    """One client."""

    def __init__(
        self,
        client: "viser.ClientHandle",
        gallery: Gallery,
        open_shown: Callable[[Path], tuple[Editable, ViewedSurface]],
    ) -> None:
        self.client, self.gallery, self.open_shown = client, gallery, open_shown
        self.controls, self.wanted_run = Controls(), next(iter(gallery.runs))
        self.shown: Shown | None = None
        self.run = ""
        self.changed, self.ended = threading.Event(), threading.Event()
        self.meshes: list[Any] = []
        self.drawn: tuple | None = None  # what the meshes show
        self.handles = self._make_controls()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.changed.set()
        self.thread.start()

    def end(self) -> None:
        """The client has gone."""
        self.ended.set()
        self.changed.set()

    # ------------------------------------------------------------------------------------------------------- the page

    def _make_controls(self) -> dict[str, Any]:
        gui, made = self.client.gui, {}
        if len(self.gallery.runs) > 1:
            names = [f"{i + 1}: {name}" for i, name in enumerate(self.gallery.runs)]
            made["run"] = gui.add_dropdown("Run", names)
            made["run"].on_update(lambda event: self._choose(names, event.target.value))
            with gui.add_folder("Gallery", expand_by_default=len(names) <= MOST_OPEN):
                gui.add_image(thumbnails(self.gallery))
        made["note"] = gui.add_markdown("Opening …")
        made["picture"] = None
        with gui.add_folder("Edit"):
            made["way"] = gui.add_dropdown(
                "Picture", WAYS, hint="effect-GAN: through the generator. effect-3D: rendered."
            )
            for name in ("before_part", "yaw_deg", "pitch_deg", "azimuth_deg", "elevation_deg", "depth_scale"):
                label, least, greatest, step = SLIDERS[name]
                made[name] = gui.add_slider(label, least, greatest, step, float(getattr(self.controls, name)))
        with gui.add_folder("Surface"):
            made["surface"] = gui.add_dropdown("Show", ("photo", "clay", "albedo", "normals"))
            made["wireframe"] = gui.add_checkbox("Wireframe", False)
        made["reset"] = gui.add_button("Back to the input")
        for name in (*SLIDERS, "way", "surface", "wireframe"):
            made[name].on_update(lambda event, name=name: self._want(name, event.target.value))
        made["reset"].on_click(lambda _: self._reset())
        return made

    def _want(self, name: str, value: Any) -> None:
        self.controls = replace(self.controls, **{name: value})
        self.changed.set()

    def _choose(self, names: list[str], value: str) -> None:
        if value in names:  # a page may send anything
            self.wanted_run = list(self.gallery.runs)[names.index(value)]
            self.changed.set()

    def _reset(self) -> None:
        if self.shown is not None:
            fresh = with_light_of(Controls(), self.shown.subject.scene.light)
            fresh = replace(fresh, surface=self.controls.surface, way=self.controls.way)
            self._set(replace(fresh, wireframe=self.controls.wireframe))

    def _set(self, controls: Controls) -> None:
        """Move the sliders; each calls `_want` in turn."""
        self.controls = controls
        for name in SLIDERS:
            _, least, greatest, step = SLIDERS[name]
            value = min(max(round(float(getattr(controls, name)), 2), least), greatest)
            self.handles[name].value = value if abs(value) >= step / 2 else 0.0  # else the page writes "-0"
        self.changed.set()

    # -------------------------------------------------------------------------------------------------------- drawing

    def _work(self) -> None:
        while True:
            self.changed.wait()
            self.changed.clear()
            if self.ended.is_set():
                return
            try:
                if self.run != self.wanted_run:
                    self._open(self.wanted_run)
                if self.shown is not None:
                    self._draw(self.shown, self.controls)
            except UserError as error:
                self.handles["note"].content = f"**{error}**"
            except Exception as error:  # a page whose thread has ended would stand still without a word
                if not self.ended.is_set():  # else the client has gone, and with it what was drawn on
                    self.handles["note"].content = f"**This did not work: {type(error).__name__}: {error}**"

    def _open(self, name: str) -> None:
        self.run, self.shown = name, None
        self.handles["note"].content = f"Opening {name} …"
        subject, surface = self.open_shown(self.gallery.runs[name])
        self.shown, self.drawn = Shown(subject, surface, own_of(subject)), None
        self.handles["surface"].options = surface.kinds
        self._set(with_light_of(replace(Controls(), way=self.controls.way), subject.scene.light))
        self.handles["note"].content = f"**{name}** · drag the object to look around"

    def _draw(self, shown: Shown, controls: Controls) -> None:
        """Everything that has changed: the object's rotation, its mesh, the picture."""
        with self.client.atomic():
            view = controls.pose.view(shown.subject.scene.light)
            turned = quaternion(rotation_in_page(view))
            picture = live_picture(shown.subject, controls, shown.own)
            if self.handles["picture"] is None:
                self.handles["picture"] = self.client.gui.add_image(picture, label="Input | edit", order=-1.0)
            else:
                self.handles["picture"].image = picture
            for mesh in self.meshes:
                mesh.wxyz = turned
        light = controls.pose.light(shown.subject.scene.light)
        lit = controls.surface in ("photo", "clay")
        kind = (controls.surface, controls.depth_scale, controls.wireframe, tuple(light[0].tolist()) if lit else None)
        if kind != self.drawn:
            self._replace_mesh(shown.surface, controls, light, turned)
            self.drawn = kind

    def _replace_mesh(self, surface: ViewedSurface, controls: Controls, light: Any, turned: tuple) -> None:
        """The new mesh appears before the old one goes, so that nothing flickers."""
        scene, old = self.client.scene, self.meshes
        side = "b" if old and old[0].name.endswith("a") else "a"
        data = surface.glb(controls.surface, light, controls.depth_scale)
        self.meshes = [scene.add_glb(f"/object_{side}", data, wxyz=turned, cast_shadow=False, receive_shadow=False)]
        if controls.wireframe:
            vertices = surface.vertices(controls.depth_scale)
            wire = {"wireframe": True, "color": WIRE_RGB, "wxyz": turned}
            self.meshes.append(scene.add_mesh_simple(f"/wire_{side}", vertices, surface.mesh.faces, **wire))
        if old:
            self.ended.wait(SETTLE_S)
            for mesh in old:
                mesh.remove()
