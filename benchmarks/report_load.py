"""How soon a report shows its first picture, in a headless Chromium, on a phone's screen and on a desktop's.

    python benchmarks/report_load.py runs/0000-car-draft/report.html [--times 5] [--slowdown 4]

Each opening has an empty cache and a new context. Numbers are milliseconds since the navigation began: the first paint
of any content, the largest one (a picture or a paragraph), and the first call that draws the mesh. --slowdown divides
the processor's speed, as a phone's is slower.
"""

import argparse
import shutil
import statistics
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

SCREENS = {
    "phone, 390 x 844": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True,
                         "has_touch": True},
    "desktop, 1280 x 800": {"viewport": {"width": 1280, "height": 800}},
}  # fmt: skip
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WATCH = """
window.seen = {};
new PerformanceObserver(list => { for (const e of list.getEntries()) window.seen.largest = e.startTime; })
  .observe({type: "largest-contentful-paint", buffered: true});
for (const kind of [WebGLRenderingContext, WebGL2RenderingContext])
  for (const name of ["drawElements", "drawArrays"]) {
    const draw = kind.prototype[name];
    kind.prototype[name] = function(...given) {
      window.seen.mesh ??= performance.now();
      return draw.apply(this, given);
    };
  }
"""
READ = """() => ({
  first: performance.getEntriesByName("first-contentful-paint")[0]?.startTime, ...window.seen,
})"""


def opened(browser: Browser, report: Path, screen: dict, slowdown: float) -> dict[str, float]:
    """Milliseconds by name, of one opening."""
    context = browser.new_context(**screen)
    page = context.new_page()
    page.add_init_script(WATCH)
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
    page.goto(report.as_uri(), wait_until="load")
    page.wait_for_function("() => window.seen.mesh && window.seen.largest", timeout=60_000)
    page.wait_for_timeout(500)
    found = page.evaluate(READ)
    context.close()
    return found


def main() -> None:
    """Print a row for each screen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--slowdown", type=float, default=1.0)
    asked = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        print(f"{asked.report.stat().st_size / 1e6:.2f} MB, median and worst of {asked.times} openings, ms")
        for name, screen in SCREENS.items():
            rows = [opened(browser, asked.report.resolve(), screen, asked.slowdown) for _ in range(asked.times)]
            columns = {key: sorted(row[key] for row in rows) for key in ("first", "mesh", "largest")}
            told = (f"{key} {statistics.median(some):.0f}, {some[-1]:.0f}" for key, some in columns.items())
            print(f"{name}: {'; '.join(told)}")
        browser.close()


if __name__ == "__main__":
    main()
