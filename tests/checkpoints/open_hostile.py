"""Opens every hostile file with both readers, in this process, under limits; prints what happened as JSON.

python -m tests.checkpoints.open_hostile FOLDER
"""

import json
import sys
from pathlib import Path

import torch

from gan2shape.checkpoints.latents import read_latent
from gan2shape.prior.checkpoint import load_generator
from tests.checkpoints import hostile, hostile_parts, lookalike
from tests.checkpoints.guard import Watch, deadline, limit_memory, reset_peak, resident_mb

READERS = {"generator": load_generator, "latent": lambda path: read_latent(path, 4, 7)}


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    files = {make.__name__: make(folder / "marker") for make in hostile.FILES}
    path, watch, results = folder / "file.pkl", Watch(), {}
    torch.save(lookalike.rosinality_state(*hostile_parts.SMALL), path)
    load_generator(path)  # late imports happen here
    limit_memory()
    reset_peak()
    before = resident_mb("VmRSS")
    for name, data in files.items():
        path.write_bytes(data)
        results[name] = {reader: attempt(READERS[reader], path, watch) for reader in READERS}
    peak_mb = resident_mb("VmHWM") - before
    executed = [*map(list, watch.events), *([["marker", ""]] if (folder / "marker").exists() else [])]
    print(json.dumps({"results": results, "executed": executed, "peak_mb": peak_mb}))


def attempt(reader, path: Path, watch: Watch) -> list[str]:
    """Kind and message of the exception that ended the reading."""
    try:
        with deadline(), watch.armed():
            reader(path)
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["read", ""]


if __name__ == "__main__":
    main()
