"""Run folders and atomic files: claimed early, so that an unwritable place is found before any work is done."""

import io
import json
import math
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gan2shape.core.errors import UserError

UNREADABLE_ARRAYS = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)  # of np.load, for .npz
RUN_NUMBER = re.compile(r"^(\d{4,})")


def next_run_dir(base: Path, label: str) -> Path:
    """`base/0007-label`, one above the highest number there. Nothing is created."""
    numbers = [int(m[1]) for p in (base.iterdir() if base.is_dir() else ()) if (m := RUN_NUMBER.match(p.name))]
    return base / f"{max(numbers, default=-1) + 1:04d}-{label}"


def claim_next(base: Path, label: str) -> tuple[Path, list[Path]]:
    """Make the next numbered folder, which nobody else has: making it is the claim. Returns what `claim` does, too."""
    while True:
        folder = next_run_dir(base, label)
        created = claim(folder.parent)
        try:
            folder.mkdir()
        except (FileExistsError, FileNotFoundError):  # another run was faster, or has just removed the base
            continue
        except OSError as error:
            release(created)
            raise _unwritable(folder, error) from error
        return folder, [folder, *created]


def claim(out_dir: Path) -> list[Path]:
    """Create `out_dir` and prove that a file can be written there.

    Returns the folders that were created, innermost first, for `release`. Raises UserError where the place is a file
    or cannot be written; nothing is left behind then.
    """
    created: list[Path] = []
    try:
        for folder in reversed([out_dir, *out_dir.parents]):
            if folder.is_symlink() and not folder.exists():
                raise UserError(f"{folder} is a link to nothing: choose another folder with --out.")
            if not folder.exists():
                try:
                    folder.mkdir()
                except FileExistsError:
                    if not folder.is_dir():
                        raise
                else:
                    created.insert(0, folder)
        with tempfile.TemporaryFile(dir=out_dir):
            pass
    except UserError:
        release(created)
        raise
    except OSError as error:
        release(created)
        raise _unwritable(out_dir, error) from error
    return created


def _unwritable(folder: Path, error: OSError) -> UserError:
    cause = (error.strerror or str(error)).lower()
    return UserError(f"cannot write to {folder} ({cause}): choose another folder with --out.")


def release(created: list[Path]) -> None:
    """Remove the folders that `claim` made, as far as they are still empty."""
    for folder in created:
        try:
            folder.rmdir()
        except OSError:
            return


def move(source: Path, target: Path) -> None:
    """`source` under the name `target`, which it replaces in one step of the file system."""
    os.replace(source, target)


def set_aside(path: Path, content: str) -> None:
    """Remove a file that holds `content`. One that another process has put there meanwhile stays."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        move(path, aside)
    except OSError:
        return
    try:
        if aside.read_text(encoding="utf-8", errors="replace") != content and not path.exists():
            move(aside, path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def as_before_if_bad(settings: Iterable[Path], state: Path, anew: Path | None = None) -> Iterator[None]:
    """Work that writes these files; where it ends in a UserError, each is again what it was, or gone.

    So are the settings where the system fails (a full disk) before a newer state has replaced the one that was there.
    An interrupt, or a mistake of ours, leaves what has been written: a run can be resumed from it.

    anew: the file among the settings that is written last, where this is another job than the one that was here. It
    and the state are out of sight until it is written, so that a process that is killed never leaves the request of
    one job beside the state of another.
    """
    before = {path: path.read_bytes() if path.is_file() else None for path in (*settings, state)}
    aside = {}
    try:
        for path in (anew, state) if anew is not None else ():
            if before[path] is not None:
                aside[path] = path.with_name(f".earlier-{path.stem}.{os.getpid()}.part{path.suffix}")
                move(path, aside[path])
        yield
    except BaseException as error:
        is_begun = anew is None or anew.is_file()
        is_newer = state.is_file() and state.read_bytes() != before[state]
        if isinstance(error, UserError) or not is_begun or (isinstance(error, OSError) and not is_newer):
            for path, data in before.items():
                if data is None:
                    path.unlink(missing_ok=True)
                elif path in aside and aside[path].is_file():  # this needs no room on the disk
                    move(aside[path], path)
                elif not path.is_file() or path.read_bytes() != data:
                    write_bytes_atomic(path, data)
        raise
    finally:
        for path in aside.values():
            path.unlink(missing_ok=True)


def write_atomic(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it there; a failure leaves neither."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last, for writers that choose the format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(temporary)
        move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_bytes_atomic(path: Path, data: bytes) -> Path:
    """`data` at `path`, whole or not at all."""
    return write_atomic(path, lambda temporary: temporary.write_bytes(data))


def write_arrays_atomic(path: Path, arrays: Mapping[str, Any], compressed: bool = True) -> Path:
    """NumPy arrays by name as an .npz file at `path`, whole or not at all."""
    import numpy as np

    write_arrays = np.savez_compressed if compressed else np.savez

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:  # a path would get ".npz" appended
            write_arrays(stream, **arrays)

    return write_atomic(path, save)


def write_state_atomic(path: Path, state: Mapping[str, Any]) -> Path:
    """What `torch.save` writes, at `path`, whole or not at all; the bytes do not depend on the temporary name.

    It is put together in memory, since torch's writer, when Ctrl-C stops it before its last bytes, writes them as it is
    destroyed: into a file that is closed by then, which aborts the process.
    """
    import torch

    whole = io.BytesIO()
    torch.save(state, whole)
    return write_atomic(path, lambda temporary: temporary.write_bytes(whole.getbuffer()))


def append_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add a line of JSON for each row, on disk at once; a line before them that was cut off is ended."""
    is_cut = path.is_file() and path.stat().st_size > 0 and not _ends_line(path)
    with path.open("a", encoding="utf-8") as stream:
        stream.write("\n" * is_cut + "".join(to_json(row) + "\n" for row in rows))
        stream.flush()
        os.fsync(stream.fileno())


def _ends_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def read_lines(path: Path) -> list[dict]:
    """The rows that `append_lines` has written; lines that were cut off are forgotten."""
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows += [row] if isinstance(row, dict) else []
    return rows


def to_json(payload: Any, indent: int | None = None) -> str:
    """JSON as other programs read it: paths with forward slashes, plain numbers, null for what is not finite."""
    return json.dumps(_plain(payload), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item"):  # a number of numpy or torch
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | None) else str(value)


def write_text_atomic(path: Path, text: str) -> Path:
    """UTF-8 `text` at `path`, whole or not at all, with plain line ends on every system."""
    return write_bytes_atomic(path, text.encode("utf-8"))
