"""Put a run's mesh, camera and light into Blender (3.6 to 5). Blender brings its own Python:

    blender --background --python scripts/blender_scene.py -- runs/0000-car-draft --lit --save car.blend
    blender --python scripts/blender_scene.py -- runs/0000-car-draft              # opens the window

`mesh.glb` carries the photo without light; with `--lit`, `mesh_lit.glb` carries the albedo, and a sun and a grey world
light it as the run recovered. Reads `scene.json` of the run, and nothing of gan2shape.

Axes: the files are +Y up and +Z towards the viewer (glTF). Blender is +Z up, and its importer turns a glTF point
(x, y, z) to (x, -z, y). Camera and sun look along their own -Z, with +Y up.
"""

import argparse
import json
import math
import sys
from pathlib import Path

SENSOR_MM = 36.0  # width of Blender's usual sensor
SUN_ANGLE_DEG = 1.0  # a small sun: the shading has no soft shadows


def to_blender(point: list[float]) -> list[float]:
    """A glTF point or direction in Blender's axes."""
    x, y, z = point
    return [x, -z, y]


def looking(direction: list[float], up: list[float]) -> list[list[float]]:
    """Rotation matrix, rows first, of an object whose -Z looks along `direction` with its +Y near `up`."""
    back = _unit([-value for value in direction])
    right = _cross(up, back)
    if math.hypot(*right) < 1e-6:  # it looks along `up`
        right = _cross([0.0, 1.0, 0.0], back)
    right = _unit(right)
    top = _cross(back, right)
    return [[right[i], top[i], back[i]] for i in range(3)]


def camera_of(scene: dict) -> dict:
    """Place, rotation and lens of the input's camera."""
    gltf = scene["camera"]["gltf"]
    return {
        "location": to_blender(gltf["position"]),
        "rotation": looking(to_blender(gltf["looks_along"]), [0.0, 0.0, 1.0]),
        "lens_mm": SENSOR_MM / 2 / math.tan(gltf["yfov_rad"] / 2),
        "resolution": scene["camera"]["size_px"],
    }


def light_of(scene: dict) -> dict:
    """Rotation and strengths of the recovered light.

    A sun of strength pi lights a white Lambert surface that faces it with 1; a world of strength 1 adds 1.
    """
    towards = to_blender(scene["light"]["direction_gltf"])
    return {
        "rotation": looking([-value for value in towards], [0.0, 0.0, 1.0]),
        "sun": math.pi * scene["light"]["diffuse"],
        "world": scene["light"]["ambient"],
    }


def _cross(a: list[float], b: list[float]) -> list[float]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def _unit(vector: list[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length for value in vector]


def build(run: Path, lit: bool) -> None:
    """Fill Blender's scene: mesh, camera, and with `lit` sun and world."""
    import bpy
    from mathutils import Matrix

    scene = json.loads((run / "scene.json").read_text(encoding="utf-8"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(run / ("mesh_lit.glb" if lit else "mesh.glb")))
    for imported in [one for one in bpy.data.objects if one.type in ("CAMERA", "LIGHT")]:
        bpy.data.objects.remove(imported)  # ours take their places
    target, camera = bpy.context.scene, camera_of(scene)
    placed = bpy.data.objects.new("Input camera", bpy.data.cameras.new("Input camera"))
    placed.data.sensor_width, placed.data.lens = SENSOR_MM, camera["lens_mm"]
    placed.data.clip_start = 0.01  # the object is about 1 away, and small
    placed.matrix_world = Matrix.Translation(camera["location"]) @ Matrix(camera["rotation"]).to_4x4()
    target.collection.objects.link(placed)
    target.camera = placed
    target.render.resolution_x = target.render.resolution_y = 8 * camera["resolution"]
    target.view_settings.view_transform = "Standard"  # colours as in the photo
    target.render.film_transparent = True  # the object alone: neither black nor the ambient light's grey behind it
    if not lit:
        return
    light = light_of(scene)
    sun = bpy.data.objects.new("Recovered light", bpy.data.lights.new("Recovered light", "SUN"))
    sun.data.energy, sun.data.angle = light["sun"], math.radians(SUN_ANGLE_DEG)
    sun.matrix_world = Matrix(light["rotation"]).to_4x4()
    target.collection.objects.link(sun)
    target.world = bpy.data.worlds.new("Ambient light")
    if target.world.node_tree is None:  # before Blender 5, which always has one
        target.world.use_nodes = True
    background = target.world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    background.inputs["Strength"].default_value = light["world"]


def main() -> None:
    """What Blender runs: the arguments behind `--` are ours."""
    parser = argparse.ArgumentParser(prog="blender --python scripts/blender_scene.py --", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--lit", action="store_true", help="the albedo under the recovered light")
    parser.add_argument("--save", type=Path, help="write a .blend file")
    parser.add_argument("--render", type=Path, help="render a PNG")
    given = parser.parse_args(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else [])
    build(given.run, given.lit)
    import bpy

    if given.save:
        bpy.ops.wm.save_as_mainfile(filepath=str(given.save.resolve()))
    if given.render:
        bpy.context.scene.render.filepath = str(given.render.resolve())
        bpy.ops.render.render(write_still=True)


if __name__ == "__main__":
    main()
