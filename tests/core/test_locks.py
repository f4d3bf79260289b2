"""Two runs never share a folder; what a killed one left is taken over and cleaned up."""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gan2shape.core.errors import UserError
from gan2shape.core.files import claim_next
from gan2shape.core.locks import LOCK_NAME, THIS_PROCESS, is_alive, locked

HOLD = "import sys, time; from pathlib import Path; from gan2shape.core.locks import locked\n" \
    "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"  # fmt: skip
ENTER = """
import sys, time
from pathlib import Path
from gan2shape.core.errors import UserError
from gan2shape.core.locks import locked
sys.stdin.readline()
try:
    with locked(Path(sys.argv[1])):
        inside = Path(sys.argv[1]) / "inside"
        inside.open("x").close()  # fails where another one is in
        print("in", flush=True)
        time.sleep(1.5)
        inside.unlink()
except UserError:
    print("refused", flush=True)
"""


def start(code: str, folder: Path) -> subprocess.Popen:
    """A process that runs `code` with the folder as its argument."""
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def dead_process() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_second_process_is_refused_and_a_killed_one_is_not_waited_for(tmp_path) -> None:
    folder = tmp_path / "run"
    holder = start(HOLD, folder)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=rf"in use by another run \(process {holder.pid}\)"), locked(folder):
        pass
    assert holder.poll() is None
    holder.kill()
    holder.wait()
    assert (folder / LOCK_NAME).exists()
    with locked(folder):
        assert (folder / LOCK_NAME).read_text().startswith(f"{os.getpid()} {THIS_PROCESS}")
    assert list(folder.iterdir()) == []


def test_of_many_that_find_a_dead_lock_one_goes_in(tmp_path) -> None:
    (tmp_path / LOCK_NAME).write_text(f"{dead_process()} x {socket.gethostname()}")
    racers = [start(ENTER, tmp_path) for _ in range(4)]
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert said.count("in") >= 1  # a slow one may come after the first has left
    assert set(said) <= {"in", "refused"}
    assert not (tmp_path / LOCK_NAME).exists()


def test_threads_of_one_process_exclude_each_other(tmp_path) -> None:
    def enter(_: int) -> bool:
        try:
            with locked(tmp_path):
                time.sleep(0.5)
                return True
        except UserError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(enter, range(8))) == 1


STALE = {
    "an earlier process of our number": lambda: f"{os.getpid()} other {socket.gethostname()}",
    "no process": lambda: f"{dead_process()} other {socket.gethostname()}",
}


@pytest.mark.parametrize("name", STALE)
def test_stale_locks_are_taken_over(name: str, tmp_path) -> None:
    (tmp_path / LOCK_NAME).write_text(STALE[name]())
    with locked(tmp_path):
        pass


def test_a_lock_without_content_counts_while_it_is_young(tmp_path) -> None:
    (tmp_path / LOCK_NAME).write_text("")
    with pytest.raises(UserError, match="in use"), locked(tmp_path):
        pass
    os.utime(tmp_path / LOCK_NAME, (0, 0))
    with locked(tmp_path):
        pass


def test_a_lock_of_another_machine_is_respected(tmp_path) -> None:
    (tmp_path / LOCK_NAME).write_text("1 other another-machine")
    with pytest.raises(UserError, match=f"or delete .*{LOCK_NAME}"), locked(tmp_path):
        pass
    assert (tmp_path / LOCK_NAME).exists()


def test_litter_of_killed_processes_goes_and_nothing_else(tmp_path) -> None:
    gone, alive = dead_process(), os.getppid()
    names = [f".state.{gone}.part.safetensors", f".report.{gone}.part", f".mesh.{alive}.part.glb", "a.1.part", ".part"]
    for name in names:
        (tmp_path / name).write_text("half")
    with locked(tmp_path):
        left = {path.name for path in tmp_path.iterdir()} - {LOCK_NAME}
    assert left == set(names[2:])
    assert is_alive(alive)
    assert not is_alive(gone)


def test_default_folders_of_one_moment_never_collide(tmp_path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: claim_next(tmp_path / "runs", "car-draft")[0], range(200)))
    assert len(set(made)) == 200
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [f"{i:04d}-car-draft" for i in range(200)]


def test_a_link_to_nothing_is_named(tmp_path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="is a link to nothing"), locked(tmp_path / "link"):
        pass
