"""What mkdocs does besides: pages that lie beside docs/ (mkdocs.yml names this file under `hooks`)."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = {  # of the site -> a file of the checkout
    "exam.md": "exam/README.md",
    "weights.md": "weights/README.md",
    "changelog.md": "CHANGELOG.md",
}


def on_files(files, config):
    """Add the pages."""
    from mkdocs.structure.files import File

    for name, path in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page, config, files) -> str:
    """Links between the two places, as they are written for a reader of the checkout, lead to the site's pages."""
    own = PAGES.get(page.file.src_uri)
    for name, path in PAGES.items():
        markdown = markdown.replace(f"](../{path}", f"]({name}")
    return markdown if own is None else markdown.replace("](../docs/", "](").replace("](docs/", "](")
