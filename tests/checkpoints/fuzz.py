"""Mutated checkpoints and latents, in a child process with limits of memory and time and an audit hook.

    python -m tests.checkpoints.fuzz --count 10000 --seed 0

Each mutant must load or end in a `UserError`. Failures are: any other exception, a crash, a mutant that takes too
long or too much memory, and any audit event of execution (exec, import, opening for writing, processes, sockets,
pickles). `--keep` keeps failing mutants (numbers alone may not: containers are written a little differently each time).
"""

import argparse
import collections
import datetime
import io
import json
import pickle
import random
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gan2shape.checkpoints.latents import read_latent
from gan2shape.core.errors import UserError
from gan2shape.prior.checkpoint import load_generator
from tests.checkpoints import lookalike, publishers
from tests.checkpoints.guard import Watch, deadline, limit_memory

INTERESTING = (*(bytes([code]) for code in b"RbQ2(tue0.}]s\x81\x92\x93\x94"), b"h\x00", b"h\x01")
NAMES = (b"os", b"system", b"builtins", b"eval", b"torch.storage", b"_load_from_bytes", b"__reduce__", b"posix")
PROGRESS = 500  # mutants between two lines
EXTREMES = (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x01\x00\x00\x00")


def seeds() -> dict[str, bytes]:
    """Small files of every kind."""
    torch.manual_seed(0)
    value = lookalike.rosinality_state(8, (3, 2), 4, 1)
    zipped, old, latent, arrays, array = (io.BytesIO() for _ in range(5))
    torch.save(value, zipped)
    torch.save(value, old, _use_new_zipfile_serialization=False)
    torch.save({"latent": torch.randn(4)}, latent)
    np.savez_compressed(arrays, w=np.zeros((3, 4)))
    np.save(array, np.zeros(4, np.float32))
    from safetensors.torch import save

    state = published_names()
    network = lookalike.nvidia_network(state, "Generator", {"mapping_kwargs": {"lr_multiplier": 0.01}}, "source = 1")
    made = {
        "rosinality.pt": zipped.getvalue(),
        "old.pt": old.getvalue(),
        "nvidia.pkl": lookalike.nvidia_pickle({"G_ema": network}, 4),
        "nvidia2.pkl": lookalike.nvidia_pickle({"G_ema": network}, 2),
        "tensorflow.pkl": lookalike.tensorflow_pickle(golden_names(state)),
        "basicsr.pt": saved({"params_ema": publishers.basicsr(value["g_ema"])}),
        "mmgeneration.pt": saved({"state_dict": prefixed("generator_ema", publishers.mmgeneration(value["g_ema"]))}),
        "genforce.pt": saved({"generator_smooth": publishers.genforce(state)}),
        "beside.pt": saved(beside(value)),
        "list.pkl": pickle.dumps([{"x": np.zeros(2)}, (value["g_ema"],)], 4),
        "bare.safetensors": save(state),
        "own.safetensors": save({f"generator/{k}": v for k, v in state.items()}, own_metadata()),
        "latent.pt": latent.getvalue(),
        "latent.npz": arrays.getvalue(),
        "latent.npy": array.getvalue(),
    }
    return made


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in state.items()}


def golden_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The names that a look-alike of TensorFlow's is made from."""
    critic = {"b4.out.weight": torch.zeros(1, 2), "b4.out.bias": torch.zeros(1)}
    prefixed_ = {f"G_ema/{name}": tensor for name, tensor in state.items()}
    return prefixed_ | {f"D/{name}": tensor for name, tensor in critic.items()}


def beside(value: dict) -> dict:
    """Weights with all kinds of things beside them."""
    things = [collections.Counter("ab"), datetime.date(2021, 5, 4), np.random.RandomState(1).get_state(), {0.5: 1}]
    things += [collections.defaultdict(list, a=[1]), np.zeros(2, "U3"), torch.zeros(2, dtype=torch.uint16)]
    return {"things": things, "optimiser": torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))]), **value}


def published_names() -> dict[str, torch.Tensor]:
    """A small generator's state in NVIDIA's names."""
    from gan2shape.nn.generator import Generator

    return Generator(small_config()).state_dict()


def small_config():
    from gan2shape.nn.generator import GeneratorConfig

    return GeneratorConfig(8, (3, 2), 4, 4, 1, resample="fir", noise=True)


def own_metadata() -> dict[str, str]:
    from dataclasses import asdict

    return {"format": "gan2shape-prior-1", "generator": json.dumps(asdict(small_config()))}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to eight random edits."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not out:
            break
        rng.choice(EDITS)(out, rng.randrange(len(out)), rng)
    return bytes(out)


def _flip(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] ^= 1 << rng.randrange(8)


def _byte(out: bytearray, at: int, rng: random.Random) -> None:
    out[at] = rng.randrange(256)


def _cut(out: bytearray, at: int, rng: random.Random) -> None:
    del out[at : at + rng.choice((1, 1, 2, 4, 16, 200))]


def _end(out: bytearray, at: int, rng: random.Random) -> None:
    del out[at:]


def _repeat(out: bytearray, at: int, rng: random.Random) -> None:
    piece = out[at : at + rng.choice((1, 2, 8, 64))]
    out[at:at] = piece * rng.choice((1, 2, 50))


def _instruction(out: bytearray, at: int, rng: random.Random) -> None:
    piece = rng.choice(INTERESTING)
    if rng.random() < 0.5:
        out[at : at + len(piece)] = piece
    else:
        out[at:at] = piece


def _extreme(out: bytearray, at: int, rng: random.Random) -> None:
    piece = rng.choice(EXTREMES) * rng.choice((1, 2))
    out[at : at + len(piece)] = piece


def _name(out: bytearray, at: int, rng: random.Random) -> None:
    """A string becomes a name that one would like to call."""
    starts = [i for i in range(at, min(at + 4000, len(out) - 2)) if out[i] == 0x8C]
    if starts:
        at, name = rng.choice(starts), rng.choice(NAMES)
        out[at : at + 2 + out[at + 1]] = b"\x8c" + bytes([len(name)]) + name


def _length(out: bytearray, at: int, rng: random.Random) -> None:
    """A little-endian number changes a little or very much."""
    if at + 4 <= len(out):
        (value,) = struct.unpack_from("<I", out, at)
        struct.pack_into("<I", out, at, (value + rng.choice((-1, 1, 7, 2**16, 2**31))) % 2**32)


def _swap(out: bytearray, at: int, rng: random.Random) -> None:
    other, size = rng.randrange(len(out)), rng.choice((1, 2, 5, 20))
    piece = bytes(out[at : at + size])
    out[other : other + len(piece)] = piece


EDITS: tuple[Callable[[bytearray, int, random.Random], None], ...] = (
    _flip,
    _byte,
    _cut,
    _end,
    _repeat,
    _instruction,
    _instruction,
    _extreme,
    _name,
    _length,
    _swap,
)


def read(path: Path) -> None:
    """Both readers; a UserError of one line is fine."""
    for reader in (load_generator, lambda p: read_latent(p, 3, 4)):
        try:
            reader(path)
        except UserError as error:
            message = str(error)
            if "\n" in message or not message.endswith(".") or len(message) > 500:
                raise AssertionError(f"no sentence: {message!r}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--keep", type=Path, help="folder for mutants that fail")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    files, watch, failures, loaded = seeds(), Watch(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant"
        for name, data in files.items():  # late imports happen here; what is mutated is good
            path.write_bytes(data)
            (read if name.startswith("latent") else load_generator)(path)
        limit_memory()
        began = time.perf_counter()
        for number in range(arguments.first, arguments.first + arguments.count):
            rng = random.Random(f"{arguments.seed}/{number}")
            name = rng.choice(list(files))
            path.write_bytes(mutate(files[name], rng))
            try:
                with deadline(), watch.armed():
                    read(path)
                loaded += 1
            except Exception as error:
                failures += 1
                if arguments.keep is not None:
                    (arguments.keep / f"{number}-{name}").write_bytes(path.read_bytes())
                print(f"mutant {number} of {name}: {type(error).__name__}: {error}", file=sys.stderr)
            if (number + 1 - arguments.first) % PROGRESS == 0:
                print(f"{number + 1} mutants, {failures} failures", flush=True)
        seconds = time.perf_counter() - began
    for event in watch.events[:20]:
        print("executed:", *event, file=sys.stderr)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = f"{arguments.count} mutants ({loaded} ended as they may), {failures} failures, {len(watch.events)} events"
    print(f"{found}, {seconds:.0f} s, {peak_mb:.0f} MB")
    return 1 if failures or watch.events else 0


if __name__ == "__main__":
    sys.exit(main())
