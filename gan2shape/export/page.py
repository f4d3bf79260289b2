"""HTML pages from the templates in `viz/`: one style, everything escaped, nothing from outside."""

from typing import Any

from gan2shape.core.resources import viz_dir


def render_page(template: str, **values: Any) -> str:
    """A template with its values, the style and the version. A value that is missing is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from gan2shape import __version__

    folder = viz_dir()
    environment = Environment(
        loader=FileSystemLoader(str(folder)), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style = Markup((folder / "report.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(version=__version__, style=style, **values)
