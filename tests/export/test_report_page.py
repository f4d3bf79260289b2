"""The report in a real browser (headless Chromium): what it draws, and what moves it. Skipped where there is none."""

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gan2shape.core.records import Verdict
from gan2shape.export.bundle import write_all
from gan2shape.export.index import render_index
from tests.export.objects import bundle

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("there is no Chromium", allow_module_level=True)
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    verdict = Verdict("outside", "Warning: the generator does not know this image.", {})
    return write_all(
        bundle(notes=[verdict.sentence, "A test object."], verdict=verdict), tmp_path_factory.mktemp("run")
    )["report"]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def open_page(page, report: Path) -> None:
    """The report with its script at work, which waits for the first paint."""
    page.goto(report.as_uri())
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(() => setTimeout(done))))")


@pytest.fixture
def page(browser, report):
    """The report at desktop size; at the end, nothing has been asked of the net or complained about."""
    context = browser.new_context(viewport={"width": 900, "height": 700}, reduced_motion="reduce")
    opened, said, asked = context.new_page(), [], []
    opened.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    open_page(opened, report)
    yield opened
    context.close()
    complaints = [text for text in said if "GPU stall" not in text and "swiftshader" not in text.lower()]
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_page_is_painted_before_the_mesh_is_drawn(browser, report) -> None:
    """Whatever the machine: the order, and no time."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.add_init_script("""
        for (const kind of [WebGLRenderingContext, WebGL2RenderingContext]) {
          const draw = kind.prototype.drawElements;
          kind.prototype.drawElements = function(...given) {
            window.drawnAt ??= performance.now();
            return draw.apply(this, given);
          };
        }""")
    page.goto(report.as_uri())
    page.wait_for_function("() => window.drawnAt && performance.getEntriesByName('first-contentful-paint').length")
    painted, mesh = page.evaluate(
        "() => [performance.getEntriesByName('first-contentful-paint')[0].startTime, window.drawnAt]"
    )
    assert painted < mesh
    context.close()


def drawn(page) -> np.ndarray:
    """The viewer's pixels [H, W, 4], from the canvas itself."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    data = page.evaluate("document.querySelector('.stage canvas').toDataURL('image/png')")
    return np.array(Image.open(io.BytesIO(base64.b64decode(data.split(",")[1])))).astype(float)


def slide(page, name: str, value: float) -> None:
    page.evaluate(
        """([name, value]) => { const one = document.querySelector(`[data-slider=${name}]`);
        one.value = value; one.dispatchEvent(new Event('input', {bubbles: true})); }""",
        [name, value],
    )


def brightness(pixels: np.ndarray) -> tuple[float, float]:
    """Mean of the left and of the right half of the object."""
    grey, inside = pixels[..., :3].mean(-1), pixels[..., 3] > 0
    columns = np.flatnonzero(inside.any(0))
    middle = (columns[0] + columns[-1]) // 2
    return grey[:, :middle][inside[:, :middle]].mean(), grey[:, middle:][inside[:, middle:]].mean()


def test_it_opens_in_clay_and_the_photo_is_a_button_away(page) -> None:
    clay = drawn(page)
    inside = clay[..., 3] > 0
    assert 0.1 < inside.mean() < 0.9
    assert np.ptp(clay[inside][:, :3].mean(1)) > 30  # it is shaded
    spread = clay[inside][:, :3].max(1) - clay[inside][:, :3].min(1)
    assert spread.max() < 30  # and has no colour of its own
    page.get_by_role("button", name="photo").click()
    photo = drawn(page)
    assert (photo[inside][:, :3].max(1) - photo[inside][:, :3].min(1)).max() > 60


def test_sliders_turn_the_shape_and_move_the_light(page) -> None:
    front = drawn(page)
    slide(page, "yaw", 60)
    turned = drawn(page)
    assert (turned[..., 3] > 0).sum() < 0.9 * (front[..., 3] > 0).sum()  # foreshortened
    assert "60°" in page.locator("[data-slider=yaw]").evaluate("one => one.parentElement.textContent")
    page.get_by_role("button", name="Reset").click()
    np.testing.assert_array_equal(drawn(page), front)
    slide(page, "lightX", -2)
    left = brightness(drawn(page))
    slide(page, "lightX", 2)
    right = brightness(drawn(page))
    assert left[0] > left[1] + 5
    assert right[1] > right[0] + 5


def test_a_light_from_above_brightens_the_top(page) -> None:
    def top_less_bottom() -> float:
        pixels = drawn(page)
        grey, inside = pixels[..., :3].mean(-1), pixels[..., 3] > 0
        rows = np.flatnonzero(inside.any(1))
        middle = (rows[0] + rows[-1]) // 2
        return grey[:middle][inside[:middle]].mean() - grey[middle:][inside[middle:]].mean()

    slide(page, "lightY", 2)
    above = top_less_bottom()
    slide(page, "lightY", -2)
    assert above > 5 > -5 > top_less_bottom()


def test_keys_and_drags_do_what_sliders_do(page) -> None:
    canvas = page.locator(".stage canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    by_key = float(page.locator("[data-slider=yaw]").input_value())
    assert 8 <= by_key <= 12
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("0")
    assert float(page.locator("[data-slider=yaw]").input_value()) == 0
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, box["y"] + 200, steps=4)
    page.mouse.up()
    assert float(page.locator("[data-slider=yaw]").input_value()) > 15


def test_a_wheel_scrolls_the_page_and_zooms_only_with_ctrl(page) -> None:
    before = drawn(page)
    box = page.locator(".stage canvas").bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, 300)
    page.wait_for_function("() => window.scrollY > 100")
    np.testing.assert_array_equal(drawn(page), before)
    page.evaluate("window.scrollTo(0, 0)")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    assert (drawn(page)[..., 3] > 0).sum() > 1.3 * (before[..., 3] > 0).sum()


def touches(page):
    """Sends touch events to the browser itself, which decides what scrolls."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        given = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": given})
        page.wait_for_timeout(20)

    return send


def test_fingers_turn_zoom_and_still_scroll(browser, report) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, reduced_motion="reduce")
    page = context.new_page()
    open_page(page, report)
    before, send = drawn(page), touches(page)
    box = page.locator(".stage canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    send("touchStart", (x - 60, y))
    for step in range(1, 9):
        send("touchMove", (x - 60 + 12 * step, y))
    send("touchEnd")
    assert float(page.locator("[data-slider=yaw]").input_value()) > 15
    assert page.evaluate("scrollY") == 0
    page.get_by_role("button", name="Reset").click()
    page.evaluate("window.scrollTo(0, 0)")
    send("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 9):
        send("touchMove", (x - 30 - 6 * step, y), (x + 30 + 6 * step, y))
    send("touchEnd")
    assert (drawn(page)[..., 3] > 0).sum() > 1.3 * (before[..., 3] > 0).sum()
    assert page.evaluate("visualViewport.scale") == 1
    send("touchStart", (x, y + 80))
    for step in range(1, 9):
        send("touchMove", (x, y + 80 - 20 * step))
    send("touchEnd")
    page.wait_for_function("() => window.scrollY > 50")
    context.close()


def test_the_before_and_after_slider_uncovers_the_input(page) -> None:
    frame = page.locator("#compare .layers")
    frame.scroll_into_view_if_needed()

    def shot(share: int) -> np.ndarray:
        page.evaluate(
            """share => { const one = document.querySelector('#compare input');
            one.value = share; one.dispatchEvent(new Event('input', {bubbles: true})); }""",
            share,
        )
        return np.array(Image.open(io.BytesIO(frame.screenshot())))

    page.locator("#compare").get_by_role("button", name="normals").click()
    none, half, all_of_it = (shot(share).astype(int) for share in (0, 50, 100))
    width = none.shape[1]
    left, right = slice(8, width // 2 - 8), slice(width // 2 + 8, width - 8)
    assert np.abs(half[:, left] - all_of_it[:, left]).max() <= 2
    assert np.abs(half[:, right] - none[:, right]).max() <= 2
    assert np.abs(all_of_it[:, left] - none[:, left]).mean() > 5
    centre = none[none.shape[0] // 2, width // 2]
    assert centre[2] > 200  # a normal that faces the viewer is blue
    page.locator("#compare").get_by_role("button", name="shading").click()
    grey = shot(0)[none.shape[0] // 2, width // 2].astype(int)
    assert np.ptp(grey) <= 2


def test_the_verdict_stands_on_top_and_notes_do_not_repeat_it(page) -> None:
    verdict = page.locator(".verdict")
    assert "The generator does not know this image." in verdict.text_content()
    assert verdict.bounding_box()["y"] < page.locator("#viewer").bounding_box()["y"]
    assert page.locator("ul.notes li").all_text_contents() == ["A test object."]


def test_the_page_carries_its_downloads_and_stays_small(page, report) -> None:
    assert report.stat().st_size < MOST_BYTES
    with page.expect_download() as caught:
        page.get_by_role("link", name="mesh.glb").click()
    assert Path(caught.value.path()).read_bytes() == (report.parent / "mesh.glb").read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1100])
def test_nothing_is_wider_than_the_screen(scheme: str, width: int, browser, report) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    open_page(page, report)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(value) for value in background[4:-1].split(",")]
    assert (sum(levels) < 200) == (scheme == "dark")
    context.close()


def test_without_webgl_there_is_a_picture(browser, report) -> None:
    page = browser.new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    open_page(page, report)
    assert page.get_by_text("This browser shows no WebGL").is_visible()
    page.close()


def test_the_page_of_many_images_shows_its_pictures(browser, tmp_path) -> None:
    rows = []
    for name in ("a", "b #2"):
        (tmp_path / name).mkdir()
        write_all(bundle(32), tmp_path / name)
        rows.append({"image": f"{name}.png", "folder": name, "status": "done", "seconds": 0.05, "notes": []})
    rows.append({"image": "bad.png", "folder": "bad", "status": "failed", "error": "no <picture>", "notes": []})
    (tmp_path / "index.html").write_text(render_index(rows, tmp_path, "egg", "instant", 4), encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_function("() => Array.from(document.images).every(one => one.naturalWidth)")  # they load late
    widths = page.evaluate("Array.from(document.images, one => one.naturalWidth)")
    assert widths == [32] * 4
    assert "no <picture>" in page.locator("table").text_content()
    page.get_by_role("link", name="b #2.png").click()
    page.wait_for_url("**/report.html")
    page.close()
