"""The house's rules as far as a syntax tree shows them: who imports whom, and what nobody does."""

import ast
import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "adaptpose": "adaptpose",
    "lifters": "adaptpose.lifters",
    "datasets": "adaptpose.datasets",
    "cli": "adaptpose.cli",
}
VOCABULARY = frozenset(
    {
        "body_parts", "bones", "camera", "clips", "config", "config_values", "errors",
        "joint_adaptation", "lifter", "metrics", "packing", "planes", "posenet", "posenet_body",
        "posenet_config", "posenet_geometry", "prediction", "progress", "protocol_rules",
        "protocols", "rays", "recipe", "rundir", "runtime", "shards", "skeleton", "skinning",
        "store", "version", "window_source", "windows",
    }
)  # fmt: skip
"""Modules of `adaptpose` that know of no method; all its other modules are methods."""

MAX_BODY_LINES = 60


@dataclasses.dataclass(frozen=True)
class Source:
    """A file of the package: the folder it lies in, its module name and its tree."""

    folder: str
    module: str
    path: Path
    tree: ast.Module


@lru_cache(maxsize=1)
def sources() -> tuple[Source, ...]:
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            module = package if path.stem == "__init__" else f"{package}.{path.stem}"
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            found.append(Source(folder, module, path, tree))
    return tuple(found)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything imported anywhere in a tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def breach(source: Source, imported: str) -> str | None:
    """Why a file may not import a name; None if it may."""
    parts = imported.split(".")
    if parts[0] == "tests":
        return "tests are imported by nobody"
    if parts[0] != "adaptpose" or len(parts) < 2 or source.folder == "cli":
        return None
    allowed = {"adaptpose": (), "lifters": ("lifters",), "datasets": ("datasets",)}[source.folder]
    if parts[1] in ("lifters", "datasets", "cli") and parts[1] not in allowed:
        return f"{source.folder} may not know {parts[1]}"
    # `from adaptpose import x` names a module of the package or something of its __init__.
    method = (ROOT / "adaptpose" / f"{parts[1]}.py").is_file() and parts[1] not in VOCABULARY
    knows_methods = source.folder == "adaptpose" and source.path.stem not in VOCABULARY
    if method and not knows_methods:
        return f"'{parts[1]}' is a method, which only methods and cli may know"
    return None


@pytest.mark.parametrize(
    ("folder", "stem", "imported", "allowed"),
    [
        ("adaptpose", "camera", "adaptpose.errors.DataError", True),
        ("adaptpose", "camera", "adaptpose.datasets.rigs", False),
        ("adaptpose", "camera", "adaptpose.evaluate.evaluate", False),
        ("adaptpose", "fit", "adaptpose.evaluate.evaluate", True),
        ("adaptpose", "fit", "adaptpose.lifters.build_lifter", False),
        ("datasets", "rigs", "adaptpose.datasets.motion", True),
        ("datasets", "rigs", "adaptpose.lifters", False),
        ("lifters", "tcn", "adaptpose.evaluate.evaluate", False),
        ("lifters", "tcn", "adaptpose.cli.options", False),
        ("cli", "fit", "adaptpose.fit.fit", True),
        ("cli", "fit", "tests.conftest", False),
    ],
)
def test_the_rule_itself(folder, stem, imported, allowed):
    source = Source(folder, "", Path(f"{stem}.py"), ast.Module([], []))
    assert (breach(source, imported) is None) is allowed


def test_imports_go_one_way():
    found = [
        f"{source.path.name}:{line}: {imported}: {why}"
        for source in sources()
        for line, imported in imports(source.tree)
        if (why := breach(source, imported))
    ]
    assert not found, "\n".join(found)


def test_config_is_standard_library_only():
    source = next(s for s in sources() if s.module == "adaptpose.config")
    names = {name.split(".")[0] for _, name in imports(source.tree)}
    assert names - set(sys.stdlib_module_names) <= {"adaptpose"}
    assert not loaded_by("adaptpose.config", "torch", "numpy")


def test_help_comes_without_torch():
    assert not loaded_by("adaptpose.cli.main", "torch", "numpy", "pandas", "matplotlib", "scipy")


def loaded_by(module: str, *heavy: str) -> list[str]:
    """Which of the heavy modules a fresh interpreter loads with a module."""
    code = f"import sys, {module}; print(*[m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return run.stdout.split()


def test_only_runtime_names_the_device():
    found = [
        f"{source.path.name}:{node.lineno}"
        for source in sources()
        if source.module != "adaptpose.runtime"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value == "cuda" or node.value.startswith("cuda:")
    ]
    assert not found, found


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name it is written as."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_libraries_do_not_print():
    found = [
        f"{source.path.name}:{call.lineno}"
        for source in sources()
        if source.folder != "cli"
        for call, name in calls(source.tree)
        if name in ("print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert not found, found


def runs_code_of_a_file(call: ast.Call, name: str) -> bool:
    given = {k.arg: ast.unparse(k.value) for k in call.keywords}
    if given.get("allow_pickle", "False") != "False":
        return True
    if name == "torch.load":
        return given.get("weights_only") != "True"
    return name.split(".")[0] in ("pickle", "dill", "joblib") or name in ("eval", "exec")


def test_loading_a_file_never_runs_code():
    found = [
        f"{source.path.name}:{call.lineno}: {name}"
        for source in sources()
        for call, name in calls(source.tree)
        if runs_code_of_a_file(call, name)
    ]
    assert not found, found


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("np.load(f, allow_pickle=True)", True),
        ("np.load(f, allow_pickle=flag)", True),
        ("np.load(f, allow_pickle=False)", False),
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=True)", False),
        ("pickle.loads(b)", True),
        ("model.eval()", False),
    ],
)
def test_the_loading_rule_itself(text, bad):
    ((call, name),) = calls(ast.parse(text))
    assert runs_code_of_a_file(call, name) is bad


def test_nothing_draws_from_the_global_generator():
    seeding = ("torch.manual_seed", "np.random.seed", "random.seed", "torch.seed")
    drawing = ("torch.rand", "torch.randn", "torch.randint", "torch.randperm", "torch.multinomial",
               "torch.normal", "torch.bernoulli")  # fmt: skip
    found = [
        f"{source.path.name}:{call.lineno}: {name}"
        for source in sources()
        for call, name in calls(source.tree)
        if name in seeding
        or name.startswith(("np.random.", "numpy.random."))
        or name.endswith(("rand_like", "randn_like", "randint_like"))
        or (name in drawing and "generator" not in {k.arg for k in call.keywords})
    ]
    assert not found, found


Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_functions_are_short():
    found = []
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, Function):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if lines > MAX_BODY_LINES:
                    found.append(f"{source.path.name}:{node.lineno} {node.name}: {lines} lines")
    assert not found, "\n".join(found)


def decorators(node: ast.stmt) -> list[str]:
    return [ast.unparse(d) for d in getattr(node, "decorator_list", [])]


def public(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """Public functions and classes, and the public methods of those classes."""
    for node in body:
        if not isinstance(node, (Function, ast.ClassDef)) or "overload" in decorators(node):
            continue
        if not node.name.startswith("_"):
            yield f"{inside}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{node.name}.")


def test_everything_public_says_what_it_is():
    found = [
        f"{source.path.name}:{node.lineno} {name}"
        for source in sources()
        for name, node in [("module", source.tree), *public(source.tree.body)]
        if not ast.get_docstring(node)
    ]
    assert not found, "\n".join(found)


def test_no_unfinished_marks():
    marks = ("TO" + "DO", "FIX" + "ME", "X" * 3)
    found = [
        f"{source.path.name}:{number}"
        for source in sources()
        for number, line in enumerate(source.path.read_text(encoding="utf-8").splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert not found, found


def config_fields() -> list[str]:
    module = importlib.import_module("adaptpose.config")
    classes = [c for c in vars(module).values() if dataclasses.is_dataclass(c)]
    return sorted({f.name for c in classes for f in dataclasses.fields(c)})


def read_in(source: Source) -> Iterator[ast.AST]:
    """The parts of a file that make use of settings: of the config itself its properties only."""
    if source.module != "adaptpose.config":
        yield source.tree
        return
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and "property" in decorators(node):
            yield node


def test_every_config_field_is_read():
    read = {
        node.attr
        for source in sources()
        for tree in read_in(source)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    unread = [name for name in config_fields() if name not in read]
    assert not unread, f"settings that change nothing: {', '.join(unread)}"


@pytest.mark.parametrize("module", [source.module for source in sources()])
def test_module_imports(module):
    importlib.import_module(module)
