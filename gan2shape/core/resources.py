"""Where the data beside the package lives: configs, page templates, weights, the exam, assets.

In a checkout (and an editable install) they are top-level folders; in a wheel they lie under `gan2shape/_data/`. An
environment variable overrides either: GAN2SHAPE_CONFIGS, GAN2SHAPE_VIZ, GAN2SHAPE_WEIGHTS, GAN2SHAPE_EXAM,
GAN2SHAPE_ASSETS.
"""

import os
from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent.parent


def _data_dir(name: str) -> Path:
    """The folder `name`: the environment's, else the wheel's, else the checkout's (which may not exist)."""
    override = os.environ.get(f"GAN2SHAPE_{name.upper()}")
    if override:
        return Path(override)
    packed = PACKAGE_DIR / "_data" / name
    return packed if packed.is_dir() else PACKAGE_DIR.parent / name


def configs_dir() -> Path:
    """Folder with `category/*.yaml` and `preset/*.yaml`."""
    return _data_dir("configs")


def viz_dir() -> Path:
    """Folder with the report's template and the viewer page."""
    return _data_dir("viz")


def weights_dir() -> Path:
    """Folder with one subfolder per category: `*.safetensors` and `card.json`."""
    return _data_dir("weights")


def exam_dir() -> Path:
    """Folder with one subfolder per category: the frozen exam's arrays and their hashes."""
    return _data_dir("exam")


def assets_dir() -> Path:
    """Folder with one subfolder per category that is made from real shapes: what its objects are rebuilt from."""
    return _data_dir("assets")


def pack_dir(category: str) -> Path:
    """Folder of one category's pack (which may not exist)."""
    return weights_dir() / category


def known_categories() -> list[str]:
    """Names of the categories that have a YAML, sorted."""
    return sorted(path.stem for path in (configs_dir() / "category").glob("*.yaml"))


def known_presets() -> list[str]:
    """Names of the presets that have a YAML, sorted."""
    return sorted(path.stem for path in (configs_dir() / "preset").glob("*.yaml"))
