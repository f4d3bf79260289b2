"""The page of a job with many images: a card for each, and the ones that could not be used with their reasons."""

from pathlib import Path
from urllib.parse import quote

from gan2shape.export.page import render_page
from gan2shape.export.report import WARNING

NORMAL, INPUT, REPORT, MESH = "normal.png", "input.png", "report.html", "mesh.glb"  # of an image's folder


def render_index(rows: list[dict], folder: Path, category: str, preset: str, n_images: int) -> str:
    """The page as text.

    rows: of the journal, in the order of the page: image, folder, status, and error or notes, seconds, metrics.
    n_images: of the job; those without a row still wait.
    """
    done = [row for row in rows if row["status"] == "done"]
    cards = [_card(row, folder) for row in done]
    return render_page(
        "index.html.j2",
        category=category,
        preset=preset,
        cards=cards,
        has_reports=any(card["page"].endswith(REPORT) for card in cards),
        failures=[{"image": row["image"], "error": row["error"]} for row in rows if row["status"] != "done"],
        n_waiting=n_images - len(rows),
    )


def _card(row: dict, folder: Path) -> dict:
    """Links are relative and quoted: a file's name may hold anything."""
    home = quote(row["folder"])
    has_report = (folder / row["folder"] / REPORT).is_file()
    warning = next((note.removeprefix(WARNING) for note in row["notes"] if note.startswith(WARNING)), "")
    return {
        "image": row["image"],
        "input": f"{home}/{INPUT}",
        "normal": f"{home}/{NORMAL}",
        "page": f"{home}/{REPORT}" if has_report else f"{home}/",
        "mesh": f"{home}/{MESH}",
        "seconds": f"{row['seconds']:.1f} s" if row["seconds"] >= 0.95 else f"{1000 * row['seconds']:.0f} ms",
        "warning": warning[:1].upper() + warning[1:],
    }
