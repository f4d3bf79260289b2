"""The strip of pictures at the top of the README: sample 0 of each bundled generator, not chosen.

    python scripts/readme_strip.py --out docs/strip.png

Columns: input, depth (bright is near), normals, relit from the left and from above, yaw of -25 and +25 degrees. Depth
and normals are cut out along the object's mask.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import gan2shape
from gan2shape.core.images import to_uint8

CATEGORIES = ("car", "head", "face")
SEED = 0
YAWS_DEG = (-25.0, 25.0)
LIGHTS = {"light from the left": (0.25, 0.95, -1.5, -0.2), "light from above": (0.25, 0.95, 0.0, -1.5)}
TILE_PX, GAP_PX, CAPTION_PX = 128, 4, 20


def tiles_of(category: str) -> dict[str, Image.Image]:
    """Pictures of one sample by caption."""
    shape = gan2shape.reconstruct(category=category, seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        normals = Image.open(shape.export(folder)["normal"]).convert("RGBA")
        normals.load()
    mask = shape.observation.mask[0, 0].cpu().numpy()
    tiles = {
        "input": picture(shape.observation.image),
        "depth": depth_picture(shape.scene.depth[0, 0].cpu().numpy(), mask),
        "normals": Image.alpha_composite(Image.new("RGBA", normals.size, "white"), normals).convert("RGB"),
    }
    tiles |= {name: picture(shape.render(light=light).image) for name, light in LIGHTS.items()}
    tiles |= {f"yaw {yaw:+.0f}°": picture(shape.render(yaw_deg=yaw).image) for yaw in YAWS_DEG}
    return tiles


def picture(image) -> Image.Image:
    """An image tensor [1, 3, S, S] in [-1, 1]."""
    return Image.fromarray(to_uint8(image[0]))


def depth_picture(depth: np.ndarray, mask: np.ndarray) -> Image.Image:
    """Depth of the object from bright (nearest) to dark (farthest), white beside it."""
    near, far = np.percentile(depth[mask > 0.5], [1, 99])
    gray = 230 - 200 * ((depth - near) / (far - near)).clip(0, 1)
    gray = gray * mask + 255 * (1 - mask)
    return Image.fromarray(gray.round().astype(np.uint8)).convert("RGB")


def main() -> None:
    """Command line of this script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    out = parser.parse_args().out
    rows = [tiles_of(category) for category in CATEGORIES]
    captions, step = list(rows[0]), TILE_PX + GAP_PX
    sheet = Image.new("RGB", (len(captions) * step - GAP_PX, CAPTION_PX + len(rows) * step - GAP_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        draw.text((column * step + TILE_PX / 2, CAPTION_PX / 2), caption, "black", font, anchor="mm")
        for row, tiles in enumerate(rows):
            tile = tiles[caption].resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
            sheet.paste(tile, (column * step, CAPTION_PX + row * step))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    main()
