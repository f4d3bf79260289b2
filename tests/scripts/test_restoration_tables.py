"""Tables of restorations: means and paired gains of known numbers, on the same images, in Markdown that holds."""

import importlib.util
from pathlib import Path

import pytest

from gan2shape.bench.restorations import ABLATIONS, FLOORS, LADDER, ROWS
from gan2shape.core.errors import UserError
from gan2shape.core.files import append_lines
from gan2shape.measure.statistics import t_quantile_975

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("restoration_tables", ROOT / "scripts" / "restoration_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines_of(row: str, values: list[float], **further: float) -> list[dict]:
    return [{"row": row, "seed": i, "psnr_db": v, "seconds": 2.0, **further} for i, v in enumerate(values)]


def cells(table: str, first: str) -> list[str]:
    """The cells of the line that begins with `first`."""
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_gains_are_paired_and_references_come_first(script) -> None:
    lines = lines_of("superres:4=dgp", [21.0, 23.0, 28.0], identity=0.5) + lines_of(
        "superres:4=bicubic", [20.0, 22.0, 24.0], identity=0.25
    )
    (page,) = script.pages(script.grouped(Path("a"), lines))
    first, second = (line for line in page.splitlines() if line.startswith("| superres"))
    assert first.startswith("| superres ×4 = bicubic")
    assert second.startswith("| superres ×4 = **dgp**")  # the task's own method
    half = t_quantile_975(2) * 3**0.5 / 3**0.5  # gains of 1, 1 and 4 have the standard deviation sqrt(3)
    assert cells(page, "superres ×4 = **dgp**")[1:] == ["24.0 ± 9.0", ".50 ± .00", f"2.0 ± {half:.1f}"]
    assert page.splitlines()[2].count("|") == first.count("|") == second.count("|")
    assert "in the hole" not in page  # an empty column
    assert "| 2.0 |" in "\n".join(script.pages(script.grouped(Path("a"), lines, None, True)))  # seconds


def test_rows_that_lack_an_image_are_named_and_left_out(script) -> None:
    lines = lines_of("inpaint=tv", [10.0, 12.0], hole_psnr_db=8.0) + lines_of("inpaint=dgp", [20.0], hole_psnr_db=9.0)
    page = "\n".join(script.pages(script.grouped(Path("a"), lines)))
    assert "left out: inpaint=dgp has 1 of 2 images" in page
    assert "= dgp" not in page.replace("inpaint=dgp", "")
    one = "\n".join(script.pages(script.grouped(Path("a"), lines, 1)))
    assert "inpaint = dgp" in one
    with pytest.raises(UserError, match="holds no rows"):
        script.grouped(Path("a"), [])


def test_every_row_of_the_benchmark_has_its_table(script) -> None:
    numbers = {"hole_psnr_db": 9.0, "turned_psnr_db": 8.0, "unturned_psnr_db": 7.0, "w_distance": 0.5,
               "explained_mse": 0.0004, "draw_sd": 0.01, "hole_draw_sd": 0.02, "identity": 0.5, "paint_lab": 3.0,
               "perceptual": 0.1}  # fmt: skip
    lines = [line for row in {*ROWS, *ABLATIONS} for line in lines_of(row, [20.0, 21.0], **numbers)]
    pages = dict(zip(script.SECTIONS, script.pages(script.grouped(Path("a"), lines)), strict=True))
    n_rows = {name: page.count("\n|") - 2 for name, page in pages.items()}
    assert n_rows["What DGP compares, and in which order"] == 12
    assert n_rows["From the projector to BRGM"] == len(LADDER) == 6
    assert n_rows["PULSE and its epsilon"] == len(FLOORS)
    inverted = [row for row in ROWS if row.startswith(("turn=", "sample="))]
    assert n_rows["After an edit"] + n_rows["Own samples"] == len(inverted)
    assert n_rows["Restorations"] == len(ROWS) - len(inverted)
    assert cells(pages["PULSE and its epsilon"], ".0005")[2] == "2 of 2"


def test_defences_are_counted(script, tmp_path: Path, capsys, monkeypatch) -> None:
    rows = [
        {"row": "tv", "input": kind, "seed": i, "right": float(i > 0), "psnr_db": 30.0, "seconds": 2.0}
        for kind in ("pgd", "clean")
        for i in range(4)
    ]
    append_lines(tmp_path / script.IMAGES_NAME, rows)
    monkeypatch.setattr("sys.argv", ["restoration_tables.py", str(tmp_path)])
    script.main()
    shown = capsys.readouterr().out.splitlines()
    assert shown[2] == "| clean | tv | 4 | .75 (.30-.95) | 30.0 | 2.0 |"  # Wilson's interval of 3 of 4
    assert shown[3].startswith("| pgd | tv | 4 |")
