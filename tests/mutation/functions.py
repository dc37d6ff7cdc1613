"""The functions of `flows/` and `stages/`, and the source of a module in which one of them returns None."""

import ast
import importlib
import inspect
import random
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("flows", "stages")


@dataclass(frozen=True)
class Function:
    """A function or method: `stages/store/run.py` and `Run.finish_round`."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"

    @property
    def own_test(self) -> str:
        """The test file that has to tell when this function is broken."""
        path = Path(self.module)
        return str(Path("tests") / path.parent / f"test_{path.stem.strip('_')}.py")


def all_functions(root: Path = ROOT) -> list[Function]:
    """Return every function and method that computes or changes something, in the order of files and lines."""
    modules = sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))
    return [
        Function(str(path.relative_to(root)), name)
        for path in modules
        for name, node in _definitions(ast.parse(path.read_text()))
        if not _does_nothing(node)
    ]


def drawn(functions: list[Function], count: int, seed: int) -> list[Function]:
    """Return as many of the functions as `count` says, in the order in which the seed draws them."""
    return random.Random(seed).sample(functions, min(count, len(functions)))


def broken_source(function: Function, root: Path = ROOT) -> str:
    """Return the source of the function's module with `return None` for the function's body."""
    tree = ast.parse((root / function.module).read_text())
    node = next(node for name, node in _definitions(tree) if name == function.name)
    node.body = [ast.Return(ast.Constant(None))]
    return ast.unparse(ast.fix_missing_locations(tree))


def _definitions(tree, prefix=""):
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}{node.name}", node


def _does_nothing(node):
    """Whether a body is a docstring, `...` or `raise NotImplementedError` alone, as that of a protocol is."""
    statements = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return all(isinstance(s, ast.Raise) and "NotImplementedError" in ast.unparse(s) for s in statements)


def break_here(function: Function) -> bool:
    """Let a function of this process return None; False where its code cannot take the place of the former."""
    module = importlib.import_module(function.module.removesuffix(".py").replace("/", "."))
    found = module
    for part in function.name.split("."):
        found = vars(found).get(part)
    found = getattr(found, "fget", None) or getattr(found, "func", None) or getattr(found, "__func__", found)
    found = inspect.unwrap(found) if callable(found) else found
    code = getattr(found, "__code__", None)
    if code is None or code.co_freevars or code.co_flags & _OF_ITS_OWN_KIND:
        return False
    found.__code__ = _code_named(compile(broken_source(function), function.module, "exec"), code.co_qualname)
    return True


_OF_ITS_OWN_KIND = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _code_named(code, name):
    """Return the code of a function within that of a module."""
    for constant in code.co_consts:
        if inspect.iscode(constant):
            found = constant if constant.co_qualname == name else _code_named(constant, name)
            if found:
                return found
    return None
