"""The pictures of the documentation that show pages and signs: reports, the page of a folder, the viewer, conventions.

    python scripts/screenshots.py --out docs          # screens/*.jpg and conventions.png

Sample 0 of the bundled car generator with preset draft, and eight rendered cars as a folder with preset instant;
nothing is chosen. Needs playwright, Chromium and the extra `viewer`; without the latter the viewer's picture stays.
"""

import argparse
import io
import shutil
import socket
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from gan2shape.api import SynthRequest, run, synth
from gan2shape.api_edit import open_run
from gan2shape.api_many import run_many
from gan2shape.core.images import SheetLayout, contact_sheet, resized, to_uint8, write_png
from gan2shape.core.many import ManyRequest, find_images
from gan2shape.core.requests import RunRequest
from gan2shape.edit.controls import LIGHTS, Pose
from gan2shape.edit.effects import render_poses
from gan2shape.viewer.gallery import gallery_of

CATEGORY, N_CARS = "car", 8
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
DESKTOP, PHONE = {"width": 1000, "height": 900}, {"width": 390, "height": 844}
QUALITY = 82  # of JPEG
TILE_PX = 112
SIGNS = {  # docs/conventions.md: what a positive (or negative) value looks like
    "input": Pose(),
    "yaw +25": Pose(yaw_deg=25),
    "yaw -25": Pose(yaw_deg=-25),
    "pitch +25": Pose(pitch_deg=25),
    "pitch -25": Pose(pitch_deg=-25),
    "roll +25": Pose(roll_deg=25),
    "lx < 0, left": Pose(direction=LIGHTS["left"]),
    "lx > 0, right": Pose(direction=LIGHTS["right"]),
    "ly < 0, above": Pose(direction=LIGHTS["above"]),
    "ly > 0, below": Pose(direction=LIGHTS["below"]),
}


def signs_sheet(run_folder: Path) -> np.ndarray:
    """The object of a run under each sign of view and light."""
    made = open_run(run_folder, "cpu")
    rendered = to_uint8(resized(render_poses(made, list(SIGNS.values())).image, TILE_PX, "bicubic"))
    return contact_sheet(rendered, list(SIGNS), len(SIGNS) // 2, SheetLayout())


def photographed(browser, address: str, viewport: dict, scheme: str, wait_for: str, settle_ms: int = 600):
    """A page as a Pillow image."""
    page = browser.new_page(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
    page.goto(address)
    page.wait_for_selector(wait_for, timeout=60_000)
    page.wait_for_timeout(settle_ms)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return picture


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Pictures in a row, at the first one's height."""
    height = pictures[0].height
    scaled = [one.resize((round(one.width * height / one.height), height)) for one in pictures]
    row, left = Image.new("RGB", (sum(one.width for one in scaled), height)), 0
    for one in scaled:
        row.paste(one, (left, 0))
        left += one.width
    return row


def viewer_page(browser, runs: Path) -> Image.Image | None:
    """The viewer with the runs of a folder; None without the extra."""
    try:
        import viser  # noqa: F401
    except ImportError:
        return None
    from gan2shape.viewer.server import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stop = threading.Event()
    serving = {"port": port, "stop": stop}
    server = threading.Thread(target=serve, args=(gallery_of(runs), lambda one: open_run(one, "cpu")), kwargs=serving)
    server.start()
    try:
        return photographed(browser, f"http://127.0.0.1:{port}", DESKTOP, "light", "text=drag the object", 6000)
    finally:
        stop.set()
        server.join()


def write_jpeg(picture: Image.Image, path: Path) -> None:
    picture.save(path, quality=QUALITY, optimize=True)


def main() -> None:
    """Write all pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    screens = given.out / "screens"
    screens.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        runs = Path(home) / "runs"
        run(RunRequest(CATEGORY, seed=0, device="cpu", out=runs / "0000-car-draft"))
        write_png(given.out / "conventions.png", signs_sheet(runs / "0000-car-draft"))
        synth(SynthRequest(CATEGORY, N_CARS, out=Path(home) / "cars"))
        images = tuple(find_images([Path(home) / "cars" / "images"]))
        run_many(ManyRequest(RunRequest(CATEGORY, preset="instant", device="cpu", out=runs / "cars"), images))
        chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        report, index = ((runs / path).as_uri() for path in ("0000-car-draft/report.html", "cars/index.html"))
        looks = ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"))
        reports = [photographed(browser, report, *look, ".stage canvas") for look in looks]
        write_jpeg(side_by_side(reports), screens / "report.jpg")
        write_jpeg(photographed(browser, index, DESKTOP, "light", "article"), screens / "index.jpg")
        page = viewer_page(browser, runs)
        if page is not None:
            write_jpeg(page, screens / "viewer.jpg")
        browser.close()


if __name__ == "__main__":
    main()
