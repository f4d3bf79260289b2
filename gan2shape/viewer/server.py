"""The viewer's server: one session for each client, until Ctrl-C."""

import functools
import io
import math
import socket
import threading
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gan2shape.core.errors import UserError
from gan2shape.core.many import SCENE_NAME
from gan2shape.core.progress import say
from gan2shape.edit.effects import Editable
from gan2shape.viewer.gallery import Gallery
from gan2shape.viewer.session import Session
from gan2shape.viewer.surface import CONFIDENCE, ViewedSurface, surface_of

LOCAL = "127.0.0.1"
KEPT_OPEN = 4  # runs
CAMERA_DISTANCE = 1.0  # from the object's centre of rotation, as the input's camera
FOV_DEG = 13.0  # the input's is 10
NEAR = 0.05
PHONE_ASPECT = 0.62  # width / height; on an upright phone the library's page lays its controls over the lower part
SHEET_PART = 0.6  # of the height, at most
MISSING = 'The viewer needs the extra: pip install "gan2shape[viewer]".'


def require_viser() -> None:
    """Raises UserError where the extra is not installed."""
    try:
        import viser  # noqa: F401
    except ImportError as error:
        raise UserError(MISSING) from error


def serve(
    gallery: Gallery,
    open_run: Callable[[Path], Editable],
    host: str = LOCAL,
    port: int = 8080,
    stop: threading.Event | None = None,
) -> None:
    """Serve the runs until `stop` is set or Ctrl-C, and say the address.

    open_run: from a run's folder to what it holds; a few are kept open. Raises UserError where the extra is missing or
    the port is taken.
    """
    require_viser()
    import viser

    require_free(host, port)
    lock, sessions = threading.Lock(), {}

    @functools.lru_cache(KEPT_OPEN)
    def opened(folder: Path) -> tuple[Editable, ViewedSurface]:
        subject = open_run(folder)
        return subject, surface_of(subject, read_confidence(folder / SCENE_NAME))

    def open_shown(folder: Path) -> tuple[Editable, ViewedSurface]:
        with lock:  # two clients that ask for the same run open it once
            return opened(folder)

    if len(gallery.runs) == 1:  # what cannot be opened is said here; of several, the page says it
        open_shown(next(iter(gallery.runs.values())))
    with redirect_stdout(io.StringIO()):  # a banner with the address, which we say ourselves
        server = viser.ViserServer(host=host, port=port, label="gan2shape", verbose=False)
    try:
        place_camera(server.initial_camera)
        server.scene.configure_default_lights(False)  # the textures have their light in them
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_layout="collapsible")

        @server.on_client_connect
        def _(client: viser.ClientHandle) -> None:
            if client.camera.aspect <= PHONE_ASPECT:
                place_above_sheet(client.camera)
            sessions[client.client_id] = Session(client, gallery, open_shown)

        @server.on_client_disconnect
        def _(client: viser.ClientHandle) -> None:
            session = sessions.pop(client.client_id, None)
            if session is not None:
                session.end()

        say(f"Viewer: http://{host}:{server.get_port()}  (Ctrl-C ends it)")
        (stop or threading.Event()).wait()
    except KeyboardInterrupt:
        say("Viewer ended.")
    finally:
        for session in list(sessions.values()):
            session.end()
        with redirect_stdout(io.StringIO()):
            server.stop()


def place_camera(camera: Any) -> None:
    """The page opens with the input's camera, and a margin around its picture."""
    camera.up, camera.fov = (0.0, 0.0, 1.0), math.radians(FOV_DEG)
    camera.position, camera.look_at, camera.near = (0.0, -CAMERA_DISTANCE, 0.0), (0.0, 0.0, 0.0), NEAR


def above_sheet(aspect: float) -> tuple[float, float]:
    """(field of view from top to bottom in radians, how far to move the camera down) of a phone's window.

    aspect: width / height of the window, > 0. The square that other windows show fills what is left above the sheet of
    controls, in width or in height. The distance is in scene units, at `CAMERA_DISTANCE`.
    """
    free = 1 - SHEET_PART
    half_square = CAMERA_DISTANCE * math.tan(math.radians(FOV_DEG) / 2)
    half_height = half_square / min(aspect, free)
    return 2 * math.atan(half_height / CAMERA_DISTANCE), (1 - free) * half_height


def place_above_sheet(camera: Any) -> None:
    """As `place_camera`, for a phone."""
    camera.fov, down = above_sheet(camera.aspect)
    camera.position, camera.look_at = (0.0, -CAMERA_DISTANCE, -down), (0.0, 0.0, -down)


def require_free(host: str, port: int) -> None:
    """Raises UserError where nothing can listen at the address: the library would take another port silently."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        cause = (getattr(error, "strerror", None) or str(error)).lower()
        raise UserError(
            f"Nothing can be served at {host}:{port} ({cause}): choose another --port or --host."
        ) from error


def read_confidence(path: Path) -> Float[Tensor, "1 1 S S"] | None:
    """The confidence of a run's depth, in [0, 1]; None for runs without it."""
    with np.load(path, allow_pickle=False) as arrays:
        if CONFIDENCE not in arrays.files:
            return None
        return torch.from_numpy(arrays[CONFIDENCE]).reshape(1, 1, *arrays[CONFIDENCE].shape[-2:]).float().clamp(0, 1)
