"""The viewer in a real browser: it loads, pixels change, clients do not disturb each other; and how it starts and ends.

Skipped where viser, playwright or Chromium are not installed.
"""

import inspect
import io
import math
import shutil
import signal
import socket
import subprocess
import sys
import threading
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image

from gan2shape.cli_edit import view
from gan2shape.core.errors import UserError
from gan2shape.viewer.gallery import Gallery
from gan2shape.viewer.server import (
    CAMERA_DISTANCE,
    FOV_DEG,
    SHEET_PART,
    above_sheet,
    require_free,
    require_viser,
    serve,
)
from gan2shape.viewer.session import Session
from gan2shape.viewer.surface import surface_of
from tests.edit.egg import make_egg

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PANEL_PX = 330  # width of the controls, at the right
WAIT_MS = 60_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def runs(tmp_path) -> Gallery:
    """Two folders, each of which is opened as the egg."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "scene.npz", depth=np.zeros(1))
    return Gallery({name: tmp_path / name for name in ("first", "second")})


@pytest.fixture
def address(runs):
    """A served gallery; the server has to end when it is told to."""
    pytest.importorskip("viser", reason="the extra `viewer` is not installed")
    port, stop, egg = free_port(), threading.Event(), make_egg()
    server = threading.Thread(target=serve, args=(runs, lambda folder: egg), kwargs={"port": port, "stop": stop})
    server.start()
    yield f"http://127.0.0.1:{port}"
    stop.set()
    server.join(20)
    assert not server.is_alive()
    require_free("127.0.0.1", port)


def pixels(page) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def until(page, differs, before: np.ndarray) -> np.ndarray:
    """The first screenshot that differs enough from an earlier one."""
    for _ in range(120):
        page.wait_for_timeout(250)
        now = pixels(page)
        if differs(now, before):
            return now
    raise AssertionError("nothing has changed on the page")


def object_changes(now: np.ndarray, before: np.ndarray) -> bool:
    return np.abs(now - before)[:, :-PANEL_PX].mean() > 0.5


def picture_changes(now: np.ndarray, before: np.ndarray) -> bool:
    return np.abs(now - before)[:360, -PANEL_PX:].mean() > 0.05


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_two_clients_turn_light_and_choose(address) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    complaints, outside = [], []
    with playwright.sync_playwright() as opened:
        browser = opened.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        pages = [browser.new_page(viewport={"width": 900, "height": 900}) for _ in range(2)]
        for page in pages:
            page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda asked: outside.append(asked.url) if not is_local(asked.url, address) else None)
            page.goto(address)
            page.get_by_text("drag the object").wait_for(timeout=WAIT_MS)
            page.get_by_text("Software WebGL").wait_for(timeout=WAIT_MS)
            blank = np.full_like(pixels(page), 255)
            until(page, lambda now, before: (np.abs(now - before)[400:, :-PANEL_PX] > 60).mean() > 0.02, blank)
        page, other = pages
        page.wait_for_timeout(1000)
        start, untouched = pixels(page), pixels(other)
        numbers = page.locator("input[inputmode=decimal], input[inputmode=numeric]")
        numbers.nth(1).fill("35")  # yaw
        numbers.nth(1).press("Enter")
        turned = until(page, object_changes, start)
        assert picture_changes(turned, start) or picture_changes(until(page, picture_changes, start), start)
        numbers.nth(2 + 1).fill("-60")  # the light's azimuth
        numbers.nth(2 + 1).press("Enter")
        until(page, object_changes, pixels(page) if object_changes(pixels(page), turned) is False else turned)
        assert not object_changes(pixels(other), untouched)
        page.locator("input[value='1: first']").first.click()
        page.get_by_role("option", name="2: second").click()
        page.get_by_text("second · drag").wait_for(timeout=WAIT_MS)
        browser.close()
    assert complaints == []
    assert outside == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_phone_shows_the_object_whole_above_the_controls(address) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as opened:
        browser = opened.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
        page.goto(address)
        page.get_by_text("drag the object").wait_for(timeout=WAIT_MS)
        page.get_by_text("Software WebGL").wait_for(timeout=WAIT_MS)
        page.locator("button.mantine-Notification-closeButton").first.click()
        free = int(844 * (1 - SHEET_PART))

        def drawn(now: np.ndarray) -> np.ndarray:
            return (now[:free] < 200).any(axis=2)

        now = until(page, lambda now, _: drawn(now).mean() > 0.1, pixels(page))
        rows, columns = np.nonzero(drawn(now))
        browser.close()
    assert rows.max() < free - 5
    assert columns.min() > 5
    assert columns.max() < 390 - 5
    assert abs(columns.mean() - 195) < 20


@pytest.mark.parametrize("aspect", [0.3, 0.46, 0.6])
def test_the_square_of_other_windows_fills_what_a_phone_leaves_free(aspect) -> None:
    fov, down = above_sheet(aspect)
    half_square, half_height = (
        CAMERA_DISTANCE * math.tan(math.radians(FOV_DEG) / 2),
        math.tan(fov / 2) * CAMERA_DISTANCE,
    )
    top, bottom, side = (
        (down + half_square) / half_height,
        (down - half_square) / half_height,
        half_square / (half_height * aspect),
    )
    assert bottom >= 1 - 2 * (1 - SHEET_PART) - 1e-9
    assert top <= 1 + 1e-9
    assert side <= 1 + 1e-9
    assert math.isclose(max(top, side), 1)
    assert math.isclose((top + bottom) / 2, SHEET_PART)  # its middle is the middle of the free part


def is_local(url: str, address: str) -> bool:
    return url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))


def test_ctrl_c_ends_it(runs) -> None:
    pytest.importorskip("viser", reason="the extra `viewer` is not installed")
    folder, port = next(iter(runs.runs.values())), free_port()
    code = f"""
from pathlib import Path
from gan2shape.viewer.gallery import Gallery
from gan2shape.viewer.server import serve
from tests.edit.egg import make_egg
serve(Gallery({{"egg": Path({str(folder)!r})}}), lambda folder: make_egg(), port={port})
"""
    started = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        said = next(line for line in started.stderr if "Viewer:" in line)
        assert f"http://127.0.0.1:{port}" in said
        started.send_signal(signal.SIGINT)
        out, rest = started.communicate(timeout=30)
    finally:
        started.kill()
    assert started.returncode == 0
    assert rest.splitlines()[-1] == "Viewer ended."
    assert out == ""


def test_without_the_extra_it_is_one_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UserError, match=r"pip install .gan2shape\[viewer\]."):
        require_viser()


def test_a_run_that_fails_is_told_on_the_page_and_another_can_be_chosen(runs) -> None:
    egg = make_egg()

    def open_shown(folder):
        if folder.name == "first":
            raise RuntimeError("torn")
        return egg, surface_of(egg)

    session = Session(MagicMock(), runs, open_shown)
    try:
        until_note(session, "torn")
        assert session.thread.is_alive()
        session._choose(["1: first", "2: second"], "2: second")
        until_note(session, "second")
    finally:
        session.end()
        session.thread.join(20)
    assert not session.thread.is_alive()


def until_note(session: Session, text: str) -> None:
    """Wait until the page says so."""
    for _ in range(400):
        if text in str(session.handles["note"].content) and "Opening" not in str(session.handles["note"].content):
            return
        session.thread.join(0.05)
    raise AssertionError(session.handles["note"].content)


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="choose another --port"):
            require_free("127.0.0.1", taken.getsockname()[1])


def test_only_this_machine_reaches_it_unless_told() -> None:
    assert inspect.signature(view).parameters["host"].default == "127.0.0.1"
    assert inspect.signature(serve).parameters["host"].default == "127.0.0.1"
