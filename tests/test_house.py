"""The rules of the house: who may import whom, what is imported when, and how long things are."""

import ast
import subprocess
import sys
from pathlib import Path

import minivae

ROOT = Path(minivae.__file__).parent
ROOMS = [  # a room reads only rooms above it
    "blas", "arrays", "numerics", "parameters", "layers", "patches", "codebook", "distributions",
    "objectives", "optimizers", "schedules", "datasets", "models", "exact", "walks", "training",
    "evaluation", "estimator", "conventions", "plots", "runs", "verify", "lab", "cli",
]  # fmt: skip


def imported(path: Path) -> set[str]:
    """The rooms that a file of the package imports."""
    package = path.relative_to(ROOT.parent).parts[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        parts = [name.split(".") for name in names]
        rooms |= {p[1] for p in parts if p[0] == "minivae" and len(p) > 1 and p[1] in ROOMS}
    return rooms


def test_a_room_reads_only_rooms_above_it() -> None:
    seen = set()
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room in ("__init__", "__main__"):
            continue
        seen.add(room)
        allowed = ROOMS[: ROOMS.index(room) + 1]
        assert imported(path) <= set(allowed), path
    assert seen == set(ROOMS)


def test_import_loads_neither_matplotlib_nor_cupy() -> None:
    code = (
        "import sys, minivae; print(sorted({'matplotlib', 'cupy', 'sklearn'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_files_are_short_and_everything_public_has_a_docstring() -> None:
    for path in ROOT.rglob("*.py"):
        text = path.read_text()
        tree, lines = ast.parse(text), text.count("\n")
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
                node
            ):
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1  # type: ignore[operator]
        assert lines <= 250, f"{path}: {lines} lines without docstrings"
        for node in (tree, *public(tree)):
            name = getattr(node, "name", "the file")
            assert ast.get_docstring(node) or name in KIN, f"{path}: {name} has no docstring"


# Methods of a protocol: told once, by the docstring of the class or of the protocol.
KIN = {
    "forward", "backward", "parts", "initial", "step", "state", "restore", "settings",
    "make_encoder",
}  # fmt: skip


def public(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef]:
    """The public classes and functions of a file, and the public methods of its classes."""
    found: list[ast.ClassDef | ast.FunctionDef] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            found.append(node)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found += [f for f in inner if isinstance(f, ast.FunctionDef) and f.name[0] != "_"]
    return found
