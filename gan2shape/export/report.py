"""One self-contained page about a run: pictures, a small 3D viewer, losses, configuration. No external address."""

import base64
import io
import json
import math
from typing import TYPE_CHECKING

import numpy as np

from gan2shape.core.images import to_uint8
from gan2shape.core.resources import viz_dir
from gan2shape.export import charts, pictures
from gan2shape.export.mesh import Mesh, vertex_normals
from gan2shape.export.page import render_page

if TYPE_CHECKING:
    from gan2shape.export.bundle import Bundle

MAX_TEXTURE, SMALL_TEXTURE = 1024, 256  # of the page's mesh, pixels; the files beside it carry all
CAPTIONS = {
    "input": "input",
    "recon": "reconstruction",
    "depth": "depth (near is bright)",
    "normal": "normals",
    "albedo": "albedo",
    "shading": "shading",
    "mask": "mask",
}
STRIP_TITLES = {
    "rotate_3d": "Rotation: effect-3D",
    "rotate_gan": "Rotation: effect-GAN",
    "relight_3d": "Relighting: effect-3D",
    "relight_gan": "Relighting: effect-GAN",
}
STRIP_HINTS = {
    "rotate_3d": "The recovered height field, rendered.",
    "relight_3d": "The recovered height field, rendered.",
    "rotate_gan": "The same pictures pulled back onto the generator's images.",
    "relight_gan": "The same pictures pulled back onto the generator's images.",
}


def render_report(bundle: "Bundle", photo_mesh: Mesh, albedo_mesh: Mesh) -> str:
    """The page as text. Raises nothing of its own: empty strips, losses or timings leave their sections out."""
    from markupsafe import Markup

    from gan2shape.export.bundle import panels

    shown = {name: data_uri(pixels) for name, pixels in panels(bundle).items()}
    return render_page(
        "report.html.j2",
        category=bundle.category,
        panels=[{"name": name, "caption": CAPTIONS[name], "uri": uri} for name, uri in shown.items()],
        strips=[_strip(bundle, name) for name in bundle.strips],
        facts=facts(bundle),
        notes=bundle.notes,
        charts=[
            {"title": stage or "losses", "svg": Markup(charts.line_chart(lines, stage))}
            for stage, lines in charts.curves(bundle.losses)
            if lines
        ],
        timings=[{"name": name, "seconds": f"{seconds:.1f}"} for name, seconds in with_total(bundle.timings).items()],
        config_yaml=bundle.config_yaml,
        viewer_script=Markup((viz_dir() / "viewer.js").read_text(encoding="utf-8")),
        viewer_data=Markup(viewer_json(bundle, photo_mesh, albedo_mesh)),
        fallback_uri=shown["recon"],
    )


def data_uri(pixels: np.ndarray) -> str:
    """A PNG as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(pictures.png_bytes(pixels)).decode("ascii")


def texture_uri(pixels: np.ndarray) -> str:
    """A texture as a `data:` address: as PNG where it is small, else reduced to `MAX_TEXTURE` pixels, as JPEG."""
    from PIL import Image

    if pixels.shape[0] <= SMALL_TEXTURE:
        return data_uri(pixels)
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((MAX_TEXTURE, MAX_TEXTURE))
    image.save(buffer, format="JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def with_total(timings: dict[str, float]) -> dict[str, float]:
    """The parts with their sum as the last row, unless a total was measured."""
    parts = {name: seconds for name, seconds in timings.items() if name != "total"}
    return {**parts, "total": timings.get("total", sum(parts.values()))} if parts else {}


def facts(bundle: "Bundle") -> list[dict]:
    """The numbers at the head of the page: name, value, hint."""
    pitch, yaw, roll = (math.degrees(angle) for angle in bundle.view[0, :3].tolist())
    ambient, diffuse, lx, ly = bundle.light[0].tolist()
    psnr = bundle.figures.get("inversion_psnr_db")
    hint = "how near the generator comes to the input on the object (PSNR)"
    inversion = [] if psnr is None else [{"name": "inversion", "value": f"{psnr:.1f} dB", "hint": hint}]
    azimuth, elevation = math.degrees(math.atan2(lx, 1)), math.degrees(math.atan2(-ly, math.hypot(lx, 1)))
    return [
        {"name": "yaw / pitch / roll", "value": f"{yaw:+.1f}° / {pitch:+.1f}° / {roll:+.1f}°",
         "hint": "of the input, against the canonical frame"},
        {"name": "light", "value": f"{abs(azimuth):.0f}° {'right' if azimuth >= 0 else 'left'}, "
         f"{abs(elevation):.0f}° {'above' if elevation >= 0 else 'below'}", "hint": "seen from the camera"},
        {"name": "ambient / diffuse", "value": f"{ambient:.2f} / {diffuse:.2f}", "hint": "of the shading"},
        *inversion,
    ]  # fmt: skip


def viewer_json(bundle: "Bundle", photo_mesh: Mesh, albedo_mesh: Mesh) -> str:
    """Geometry and textures for `viewer.js`: little-endian arrays in base64. Both meshes share vertices and faces."""
    wide = len(photo_mesh.vertices) > 65535
    light = bundle.light[0].cpu().double().tolist()
    payload = {
        "positions": _base64(photo_mesh.vertices, "<f4"),
        "normals": _base64(vertex_normals(photo_mesh), "<f4"),
        "uvPhoto": _base64(photo_mesh.uv, "<f4"),
        "uvAlbedo": _base64(albedo_mesh.uv, "<f4"),
        "faces": _base64(photo_mesh.faces, "<u4" if wide else "<u2"),
        "wide": wide,
        "photo": texture_uri(bundle.texture),
        "albedo": texture_uri(bundle.albedo_texture),
        # glTF axes: the light's direction (lx, ly, -1) becomes (lx, -ly, 1).
        "light": {"ambient": light[0], "diffuse": light[1], "direction": [light[2], -light[3], 1.0]},
    }
    return json.dumps(payload).replace("</", "<\\/")


def _strip(bundle: "Bundle", name: str) -> dict:
    labels = bundle.strip_labels.get(name, [])
    tiles = [to_uint8(image) for image in bundle.strips[name]]  # the page scales them
    captions = labels or [""] * len(tiles)
    return {
        "title": STRIP_TITLES.get(name, name.replace("_", " ")),
        "hint": STRIP_HINTS.get(name, ""),
        "tiles": [{"uri": data_uri(tile), "caption": text} for tile, text in zip(tiles, captions, strict=True)],
    }


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array).astype(dtype).tobytes()).decode("ascii")
