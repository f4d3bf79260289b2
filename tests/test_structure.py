"""What holds for the package as a whole: one class of a name, short files, nothing global, nothing by category."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import gan2shape

PACKAGE = Path(gan2shape.__file__).parent
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")
}
MOST_LINES = 450


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Every call with the dotted name of what is called."""
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_class_names_are_unique() -> None:
    names = Counter(node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_files_are_short_and_have_a_docstring(name: str) -> None:
    n_lines = len((PACKAGE / name).read_text(encoding="utf-8").splitlines())
    assert n_lines <= MOST_LINES
    assert not {"utils", "util", "helpers", "misc", "common"} & set(Path(name).with_suffix("").parts)
    assert name == "__main__.py" or ast.get_docstring(TREES[name])


def test_the_library_prints_no_results() -> None:
    found = [
        f"{name}:{call.lineno}"
        for name, tree in TREES.items()
        for called, call in calls(tree)
        if called == "print" and not any(given.arg == "file" for given in call.keywords)
    ]
    assert found == []


def test_the_global_generator_is_seeded_in_one_place() -> None:
    seeds = ("torch.manual_seed", "torch.random.manual_seed", "torch.seed", "torch.default_generator.manual_seed",
             "torch.cuda.manual_seed_all", "np.random.seed", "random.seed")  # fmt: skip
    found = [name for name, tree in TREES.items() for called, _ in calls(tree) if called in seeds]
    assert found == ["core/seeding.py"]


def test_files_are_replaced_in_one_place() -> None:
    moves = ("os.replace", "os.rename", "shutil.move")
    found = [name for name, tree in TREES.items() for called, _ in calls(tree) if called in moves]
    assert found == ["core/files.py"]


def test_a_category_is_data() -> None:
    found = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare):
                parts = [node.left, *node.comparators]
                named = any(ast.unparse(part).split(".")[-1].endswith("category") for part in parts)
                if named and any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts):
                    found.append(f"{name}:{node.lineno}")
    assert found == []


def test_errors_import_nothing() -> None:
    assert not [node for node in ast.walk(TREES["core/errors.py"]) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_the_doctor_knows_every_extra() -> None:
    import tomllib

    from gan2shape.api_doctor import EXTRAS

    extras = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    needed = {name: len(packages) for name, packages in extras.items() if name != "dev"}
    assert {name: len(modules) for name, (_, modules) in EXTRAS.items()} == needed
