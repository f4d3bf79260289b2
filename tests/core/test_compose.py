"""Composition in threads, in child processes and inside programs that use Hydra themselves; YAML headers and faults."""

import copy
import multiprocessing
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir, version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra

from gan2shape.core.compose import compose, from_yaml
from gan2shape.core.errors import UserError

SIZES = {"cat": 2, "dog": 3}  # what each category and preset sets
RATES = {"fast": (0.5, 1.0), "slow": (0.25, 2.0)}


@dataclass(frozen=True)
class Steps:
    rates: tuple[float, float] = (0.0, 0.0)
    name: str | None = None


@dataclass(frozen=True)
class Job:
    category: str = "none"
    preset: str = "none"
    size: int = 1
    number: int = 0
    steps: Steps = field(default_factory=Steps)
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Other:
    size: int = 1
    number: float = 0.0
    steps: Steps = field(default_factory=Steps)


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of YAML files, beside that of a host program (`host/`)."""
    for name, size in SIZES.items():
        write(tmp_path / "ours" / "category" / f"{name}.yaml", f"# @package _global_\nsize: {size}\n")
    for name, rates in RATES.items():
        write(tmp_path / "ours" / "preset" / f"{name}.yaml", f"# @package _global_\nsteps: {{rates: {list(rates)}}}\n")
    write(tmp_path / "host" / "app.yaml", "defaults: [db: mysql, _self_]\nport: 1\n")
    write(tmp_path / "host" / "db" / "mysql.yaml", "driver: mysql\n")
    write(tmp_path / "host" / "db" / "other.yaml", "driver: other\n")
    return tmp_path / "ours"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def compose_and_compare(root: Path, seed: int, n_calls: int = 60) -> list[str]:
    """What is wrong with this many calls of both classes with random categories, presets and overrides."""
    rng, faults = random.Random(seed), []
    for _ in range(n_calls):
        category, preset, number = rng.choice(list(SIZES)), rng.choice(list(RATES)), rng.randrange(10**6)
        try:
            if rng.random() < 0.5:
                overrides = [f"number={number}", f"steps.name=n{number}", f"weights.w{number}={number}"]
                made = compose(Job, category, preset, overrides, root)
                steps = Steps(RATES[preset], f"n{number}")
                expected = Job(category, preset, SIZES[category], number, steps, {f"w{number}": float(number)})
            else:
                made = compose(Other, category, None, [f"number={number}", f"steps.rates=[{number},-1]"], root)
                expected = Other(SIZES[category], float(number), Steps((float(number), -1.0)))
        except Exception as error:  # whatever it is, it is counted
            faults.append(f"{type(error).__name__}: {error}")
        else:
            faults += [] if made == expected else [f"{made} instead of {expected}"]
        try:
            compose(Job, category, preset, [f"steps.rates=[{number}"], root)
        except UserError as error:
            faults += [] if f"no viable alternative at input '[{number}'" in str(error) else [str(error)]
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")
    return faults


def test_four_threads_get_what_they_asked_for(root) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            faults = list(pool.map(compose_and_compare, [root] * 4, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert faults == [[]] * 4


def test_threads_that_start_cold(root) -> None:
    """The late imports and the empty caches of a new process are shared by the threads, too."""
    script = (
        "import sys; from pathlib import Path; from concurrent.futures import ThreadPoolExecutor\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); sys.setswitchinterval(1e-5)\n"
        "from dataclasses import dataclass; from gan2shape.core.compose import compose\n"
        "@dataclass(frozen=True)\nclass Small:\n    size: int = 1\n    number: int = 0\n"
        f"def work(k): return compose(Small, 'cat', None, ['number=' + str(k)], Path({str(root)!r}))\n"
        "with ThreadPoolExecutor(8) as pool: print(list(pool.map(work, range(8))) == [Small(2, k) for k in range(8)])\n"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "True\n"


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_child_processes_compose(method: str, root) -> None:
    """Children start while two threads compose."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    is_over = threading.Event()

    def keep_composing(seed: int) -> list[str]:
        faults = []
        while not is_over.is_set():
            faults += compose_and_compare(root, seed, n_calls=1)
        return faults

    with ThreadPoolExecutor(2) as threads:
        around = [threads.submit(keep_composing, seed) for seed in (8, 9)]
        try:
            with multiprocessing.get_context(method).Pool(1) as pool:
                work = pool.starmap_async(compose_and_compare, [(root, seed, 10) for seed in range(4)])
                assert work.get(timeout=120) == [[]] * 4
        finally:
            is_over.set()
        assert [future.result() for future in around] == [[], []]


@pytest.fixture
def host(root):
    """What a host program sees of its own Hydra; the test leaves nothing of it behind."""
    backup, base = GlobalHydra.instance().hydra, version.getbase()
    GlobalHydra.instance().clear()

    def look() -> tuple:
        store = copy.deepcopy(ConfigStore.instance().repo)
        made = [hydra_compose("app"), hydra_compose("app", ["port=2", "db=other"])]
        return made, store, version.getbase(), GlobalHydra.instance().hydra

    yield look
    GlobalHydra.instance().hydra = backup
    version.VersionBase.instance().version_base = base


def check_ours(root: Path) -> None:
    assert compose_and_compare(root, 1, n_calls=4) == []
    for bad in (["size=x"], ["size=1,2"], ["nothing=1"]):
        with pytest.raises(UserError):
            compose(Job, "cat", "fast", bad, root)


def test_a_host_program_that_has_initialised_hydra(host, root) -> None:
    initialize_config_dir(str(root.parent / "host"), version_base="1.2")
    before = host()
    assert [made.db.driver for made in before[0]] == ["mysql", "other"]
    check_ours(root)
    assert host() == before
    assert host()[-1] is before[-1]


def test_a_host_program_inside_initialize(host, root) -> None:
    with initialize_config_dir(str(root.parent / "host"), version_base="1.3"):
        before = host()
        check_ours(root)
        assert host() == before
        assert host()[-1] is before[-1]
    check_ours(root)
    assert not GlobalHydra.instance().is_initialized()


def test_a_host_program_that_has_not_initialised_hydra_yet(host, root) -> None:
    store = copy.deepcopy(ConfigStore.instance().repo)
    check_ours(root)
    assert ConfigStore.instance().repo == store
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_dir(str(root.parent / "host"), version_base="1.3"):
        assert host()[0][0].port == 1


def test_a_host_program_in_the_middle_of_hydra_main(root, tmp_path) -> None:
    script = tmp_path / "app.py"
    script.write_text(f"""
import sys
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_compose import check_ours

@hydra.main(config_path="host", config_name="app", version_base="1.3")
def main(config):
    before = HydraConfig.get().job.name, hydra.compose("app", ["port=5"])
    check_ours(Path({str(root)!r}))
    assert (HydraConfig.get().job.name, hydra.compose("app", ["port=5"])) == before
    print(config.db.driver, config.port)

main()
""")
    command = [sys.executable, str(script), "port=7", "db=other", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "other 7\n", done.stderr


def test_hydra_is_imported_for_overrides_alone(root) -> None:
    script = (
        "import sys; from dataclasses import dataclass; from pathlib import Path\n"
        "from gan2shape.core.compose import compose\n@dataclass\nclass Small:\n    size: int = 1\n"
        "late = [name in sys.modules for name in ('omegaconf', 'hydra')]\n"
        f"compose(Small, 'cat', None, [], Path({str(root)!r})); late.append('hydra' in sys.modules)\n"
        f"compose(Small, 'cat', None, ['size=2'], Path({str(root)!r})); print(late, 'hydra' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[False, False, False] True\n", done.stderr


HEADERS = {
    "global": ("# @package _global_\nnumber: 4\n", 4),
    "after blanks": ("\n\n# @other x\n#@package  _global_ \nnumber: 4\n", 4),
    "elsewhere": ("# @package steps\nname: tom\n", "tom"),
    "below the root": ("# @package _global_.steps\nname: tom\n", "tom"),
    "none": ("number: 4\n", None),
    "not at the top": ("# words\n# @package _global_\nnumber: 4\n", None),
}


@pytest.mark.parametrize(("text", "value"), HEADERS.values(), ids=HEADERS)
def test_package_headers_say_where_keys_go(text: str, value, root) -> None:
    """As in Hydra: without one they go below the group, which is no branch of these configurations."""
    write(root / "preset" / "own.yaml", text)
    if value is None:
        with pytest.raises(UserError, match="preset: In 'preset/own': ValidationError raised while composing config"):
            compose(Job, "cat", "own", root=root)
    else:
        made = compose(Job, "cat", "own", root=root)
        assert value in (made.number, made.steps.name)


FAULTS = {
    "unknown key": ("foo: 1", "foo: In 'preset/own': ConfigKeyError raised while composing config"),
    "type": ("size: x", "size: In 'preset/own': ValidationError raised while composing config"),
    "defaults list": ("defaults: [fast]", "defaults: In 'preset/own'"),
    "list": ("- 1", "In 'preset/own'"),
    "scalar": ("5", "In 'preset/own': Invalid loaded object type"),
    "syntax": ("size: [", "line 3"),
    "twice": ("size: 1\nsize: 2", "found duplicate key size"),
    "reference": ("size: ${number.x}", "size: "),
}


@pytest.mark.parametrize(("text", "hint"), FAULTS.values(), ids=FAULTS)
def test_a_bad_yaml_is_one_sentence(text: str, hint: str, root) -> None:
    write(root / "preset" / "own.yaml", f"# @package _global_\n{text}\n")
    with pytest.raises(UserError) as raised:
        compose(Job, "cat", "own", root=root)
    assert hint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_values_refer_to_others(root) -> None:
    write(root / "preset" / "own.yaml", "# @package _global_\nnumber: ${size}\n")
    assert compose(Job, "dog", "own", root=root).number == 3
    assert compose(Job, "dog", "own", ["size=7", "weights.a=${number}"], root).weights == {"a": 7.0}


BAD = {
    "no member": (["weights={a: 1}"], "weights.a"),
    "function": (["number=range(1,3)"], "Sweep parameters 'number=range(1,3)' requires --multirun."),
    "choice": (["weights.a=1,2"], "Ambiguous value for argument '++weights.a=1,2'."),
    "package": (["weights.a@b=1"], "Override ++weights.a@b=1 looks like a config group override"),
    "grammar": (["steps.name='"], "LexerNoViableAltException"),
}


@pytest.mark.parametrize(("overrides", "hint"), BAD.values(), ids=BAD)
def test_bad_overrides_are_one_sentence(overrides: list[str], hint: str, root) -> None:
    with pytest.raises(UserError) as raised:
        compose(Job, overrides=overrides, root=root)
    assert hint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path) -> None:
    with pytest.raises(UserError, match="config directory not found"):
        compose(Job, root=tmp_path / "nowhere")


def test_saved_text_that_is_one_number_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be read"):
        from_yaml(Job, "5")
