"""axe-core finds no serious violation in the report and in the page of many images, light and dark, wide and narrow.

Needs playwright, Chromium, and axe-core beside the checkout or on NODE_PATH: `npm install --no-save axe-core`.
"""

import os
from pathlib import Path

import pytest

from gan2shape.core.records import Verdict
from gan2shape.export.bundle import write_all
from gan2shape.export.index import render_index
from tests.export.objects import bundle

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from tests.export.test_report_page import CHROMIUM, FLAGS  # noqa: E402  (skips where there is no Chromium)

PLACES = (str(Path(__file__).parents[2] / "node_modules"), *os.environ.get("NODE_PATH", "").split(os.pathsep))
FOUND = [Path(place) / "axe-core" / "axe.min.js" for place in PLACES if place]
AXE = next((path for path in FOUND if path.is_file()), None)
GRAVE = ("serious", "critical")
pytestmark = pytest.mark.skipif(AXE is None, reason="needs `npm install --no-save axe-core`")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("job")
    verdict = Verdict("outside", "Warning: the generator does not know this image.", {"guess_psnr_db": 12.0})
    (folder / "a").mkdir()
    files = write_all(bundle(32, notes=[verdict.sentence, "A test object."], verdict=verdict), folder / "a")
    rows = [
        {"image": "a.png", "folder": "a", "status": "done", "seconds": 0.05, "notes": [verdict.sentence]},
        {"image": "bad.png", "folder": "bad", "status": "failed", "error": "no <picture>", "notes": []},
    ]
    (folder / "index.html").write_text(render_index(rows, folder, "egg", "instant", 3), encoding="utf-8")
    return {"report": files["report"], "index": folder / "index.html"}


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


def violations(page) -> list[str]:
    """What axe-core calls serious or worse, with the first place of each."""
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found if one["impact"] in GRAVE]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1100])
@pytest.mark.parametrize("name", ["report", "index"])
def test_no_serious_violation(name: str, width: int, scheme: str, pages, browser) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(pages[name].as_uri())
    assert violations(page) == []
    context.close()


def test_a_bad_page_is_noticed(browser) -> None:
    page = browser.new_page()
    page.set_content("<html><body style='background:#fff;color:#eee'><img src='x.png'><p>pale</p></body></html>")
    assert {one.split(":")[0] for one in violations(page)} >= {"image-alt", "color-contrast"}
    page.close()
