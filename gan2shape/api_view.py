"""Pictures of finished runs: many renders as files, and an interactive page."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from gan2shape.api_edit import open_run, require_projector
from gan2shape.core.errors import UserError
from gan2shape.core.files import to_json, write_text_atomic
from gan2shape.core.images import to_uint8, write_png
from gan2shape.core.locks import locked
from gan2shape.core.many import is_finished
from gan2shape.core.progress import Reporter, silent
from gan2shape.core.requests import REQUEST_NAME, RunResult
from gan2shape.edit.controls import Pose, light_from
from gan2shape.edit.effects import BATCH, own_of, project_poses, render_poses, with_own_detail
from gan2shape.edit.record import CONVENTIONS, MODES
from gan2shape.edit.view_lists import read_views
from gan2shape.export.pictures import cut_out
from gan2shape.shape.reconstruct import Reconstruction

LIST_NAME = "renders.json"


@dataclass(frozen=True)
class RenderRequest:
    """Renders of one run in a list of views."""

    run: Path
    views: Path  # CSV or JSON: see `edit.view_lists`
    out: Path
    light: str | None = None  # of the rows that name none
    mode: str = "3d"  # 3d, gan or both
    transparent: bool = False  # alpha in the place of the background; of effect-3D
    device: str = "auto"


def render(request: RenderRequest, report: Reporter = silent) -> RunResult:
    """Write a PNG for each view, and `renders.json` with what each shows. `metrics["n_views"]`: how many.

    Raises UserError for lists and runs that cannot be used, and where another run works in the folder.
    """
    began = time.perf_counter()
    if request.mode not in MODES:
        raise UserError(f"Unknown --mode {request.mode!r}: write {', '.join(MODES)}.")
    if (Path(request.out) / REQUEST_NAME).exists() or is_finished(Path(request.out)):
        raise UserError(f"{request.out} holds a run: choose another folder with --out.")
    views = read_views(request.views, Pose(direction=None if request.light is None else light_from(request.light)))
    with locked(request.out):
        made = open_run(request.run, request.device)
        ways = MODES[:2] if request.mode == "both" else (request.mode,)
        if "gan" in ways:
            require_projector(made)
        listed = []
        for start in range(0, len(views), BATCH):
            listed += _rendered(request, made, views[start : start + BATCH], ways)
            report("views", min(start + BATCH, len(views)), len(views))
        page = {"run": Path(request.run).name, "views": listed, "conventions": list(CONVENTIONS)}
        files = {"list": write_text_atomic(request.out / LIST_NAME, to_json(page, indent=1) + "\n")}
    return RunResult(request.out, files, {"n_views": float(len(views))}, time.perf_counter() - began)


def _rendered(
    request: RenderRequest, made: Reconstruction, views: list[tuple[str, Pose]], ways: tuple[str, ...]
) -> list[dict]:
    """Write the pictures of a few views; what each file shows."""
    poses = [pose for _, pose in views]
    rendered = render_poses(made, poses)
    pixels: dict[str, np.ndarray] = {"3d": to_uint8(with_own_detail(rendered, poses, own_of(made)).image)}
    if "gan" in ways:
        pixels["gan"] = to_uint8(project_poses(made, rendered, poses).images)
    listed = []
    for i, (name, pose) in enumerate(views):
        files = {}
        for way in ways:
            picture = pixels[way][i]
            if request.transparent and way == "3d":
                picture = cut_out(picture, rendered.mask[i : i + 1])
            file_name = f"{name}.png" if len(ways) == 1 else f"{name}_{way}.png"
            files[way] = write_png(request.out / file_name, picture).name
        light = pose.light(made.scene.light)[0].tolist()
        listed.append({"name": name, "files": files, **asdict(pose), "light": light})
    return listed


def view(path: Path, host: str = "127.0.0.1", port: int = 8080, device: str = "auto") -> None:
    """Serve a page for a run, or for the runs in a folder, until Ctrl-C.

    Raises UserError where the extra `viewer` is missing, there is no run, or the port is taken.
    """
    from gan2shape.viewer.gallery import gallery_of
    from gan2shape.viewer.server import require_viser, serve

    require_viser()
    serve(gallery_of(Path(path)), lambda folder: open_run(folder, device), host, port)
