"""The documentation's site: every page has its place, and links lead somewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


def pages(nav: object) -> list[str]:
    """The files that a navigation names."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in pages(part)]


def test_every_page_has_its_place() -> None:
    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    from_elsewhere = {"exam.md", "weights.md", "changelog.md"}  # scripts/docs_hooks.py
    assert sorted(named) == sorted(written | from_elsewhere)


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link(tmp_path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    told = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=told)
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "quick-start.html").read_text(encoding="utf-8")
    assert "conventions" in page
    assert "fonts.googleapis" not in page
    assert (tmp_path / "exam.html").is_file()
