"""`gan2shape doctor`: whether this installation can work."""

import typer

from gan2shape.cli_errors import as_messages
from gan2shape.cli_options import RUNS, Device, Json, emit


@as_messages
def doctor(device: Device = "auto", as_json: Json = False) -> None:
    """Check torch, the device, the packs, the folder of runs and every extra, and reconstruct one sample. Exit code 0
    where gan2shape can work here, 1 where not. Nothing is kept.

    Example:  gan2shape doctor
    """
    from gan2shape.api_doctor import doctor as diagnose

    found = diagnose(RUNS, device)
    verdict = "gan2shape can work here." if found.is_usable else "gan2shape cannot work here: see what has failed."
    emit({"verb": "doctor", **found.as_json()}, as_json, [*found.lines(), verdict])
    if not found.is_usable:
        raise typer.Exit(1)
