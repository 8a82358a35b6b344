"""Every mutant that poodle makes of `dhtd.core` and `dhtd.wire`, and of others if asked, as a fault with its place.

poodle's mutators replace operators, comparisons, numbers, strings, constants, arguments in brackets, calls and returned
values. Some mutants tell nothing of the tests and are left out: in annotations and type aliases; in decorators and
`__slots__`; in the values of an `Enum`, which are labels; in assertions; in texts of exceptions and other composed
texts; in branches of `assert_never`; and in values that nobody reads: those of a dictionary that stands for an ordered
set (`each[key] = None`), and what `pop` returns to nobody where there is nothing (`each.pop(key, None)`).
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from poodle.data_types import PoodleConfig, PoodleWork
from poodle.mutate import create_mutants_for_file, initialize_mutators

from tests.faults.fault import Fault, Place

PACKAGES = ("dhtd/core", "dhtd/wire")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A piece of a file, and its replacement. Lines count from 1, columns in bytes from 0, as in `ast`."""

    place: Place
    start: tuple[int, int]
    end: tuple[int, int]
    text: str

    def fault(self, root: Path) -> Fault | None:
        """Return the fault; None if it does not compile without a warning, or means the same in other words."""
        original = (root / self.place.path).read_text()
        mutated = _spliced(original.splitlines(keepends=True), self.start, self.end, self.text)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", SyntaxWarning)
                compile(mutated, self.place.path, "exec")
        except SyntaxError:  # Python makes this of the warning
            return None
        same = ast.dump(ast.parse(mutated)) == ast.dump(ast.parse(original))
        return None if same else Fault(str(self.place), {self.place.path: mutated}, self.place)


def all_mutants(root: Path, only: Sequence[str] = ()) -> list[Mutant]:
    """Return every mutant of the packages, in the order of the code; or of all files with these in their path."""
    paths = sources(root, ("dhtd",) if only else PACKAGES)
    chosen = [path for path in paths if not only or any(part in str(path.relative_to(root)) for part in only)]
    return [mutant for path in chosen for mutant in mutants(root, path)]


def sources(root: Path, packages: Sequence[str] = PACKAGES) -> list[Path]:
    return [path for package in packages for path in sorted((root / package).rglob("*.py"))]


def mutants(root: Path, path: Path) -> list[Mutant]:
    text = path.read_text()
    tree = ast.parse(text)
    excluded = [_span(node) for node in _excluded(tree)]
    unfit = {_span(node) for node in _unfit(tree)}
    functions = list(_functions(tree, ""))
    lines = text.splitlines(keepends=True)
    found: dict[tuple[tuple[int, int], tuple[int, int], str], Place] = {}
    work = _poodle()
    mutations = create_mutants_for_file(work, root, path)
    for mutation in sorted(
        mutations, key=lambda made: (made.lineno, made.col_offset, made.end_lineno, made.end_col_offset)
    ):
        start, end = (mutation.lineno, mutation.col_offset), (mutation.end_lineno, mutation.end_col_offset)
        if (start, end) in unfit or any(first <= start and end <= last for first, last in excluded):
            continue
        inside = [name for name, (first, last) in functions if first <= start and end <= last]
        before = lines[start[0] - 1 : end[0]]
        after = _spliced(before, (1, start[1]), (len(before), end[1]), mutation.text)
        place = Place(str(path.relative_to(root)), inside[-1] if inside else "", _line("".join(before)), _line(after))
        found.setdefault((start, end, mutation.text), place)
    seen: Counter[Place] = Counter()
    numbered = []
    for (start, end, put), place in found.items():
        seen[place] += 1
        numbered.append(Mutant(replace(place, nth=seen[place]), start, end, put))
    return numbered


def text_of(path: Path, function: str) -> str:
    """Return the lines of a function in one, as in a `Place`; empty if there is no such function."""
    lines = path.read_text().splitlines(keepends=True)
    spans = dict(_functions(ast.parse("".join(lines)), "")) | {"": ((1, 0), (len(lines), 0))}
    first, last = spans.get(function, ((1, 0), (0, 0)))
    return _line("".join(lines[first[0] - 1 : last[0]]))


def _poodle() -> PoodleWork:
    """Return the configuration for poodle's mutators: all of them except the one that removes decorators."""
    options: dict[str, Any] = dict.fromkeys(field.name for field in fields(PoodleConfig))
    options |= {"mutator_opts": {}, "skip_mutators": ["Decorator"], "add_mutators": []}
    work = PoodleWork(PoodleConfig(**options))
    work.mutators = initialize_mutators(work)
    return work


def _spliced(lines: list[str], start: tuple[int, int], end: tuple[int, int], text: str) -> str:
    head = lines[start[0] - 1].encode()[: start[1]].decode()
    tail = lines[end[0] - 1].encode()[end[1] :].decode()
    return "".join(lines[: start[0] - 1]) + head + text + tail + "".join(lines[end[0] :])


def _line(text: str) -> str:
    return " ".join(" ".join(line.partition("  # ")[0] for line in text.splitlines()).split())


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    assert isinstance(node, ast.expr | ast.stmt)
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)


def _functions(node: ast.AST, inside: str) -> Iterator[tuple[str, tuple[tuple[int, int], tuple[int, int]]]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{inside}.{child.name}" if inside else child.name
            yield name, _span(child)
            yield from _functions(child, name)
        else:
            yield from _functions(child, inside)


def _excluded(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        match node:
            case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.If(test=ast.Name("TYPE_CHECKING")):
                yield node
            case ast.Expr(ast.Call(ast.Name("assert_never"))) | ast.Assign([ast.Name("__slots__")]):
                yield node
            case ast.Assign(targets, ast.Constant(None)) if all(isinstance(each, ast.Subscript) for each in targets):
                yield node.value
            case ast.Expr(ast.Call(ast.Attribute(attr="pop"), [_, ast.Constant(None) as otherwise])):
                yield otherwise
            case ast.AnnAssign():
                yield node.annotation
            case ast.arg(annotation=ast.expr()):
                assert node.annotation is not None
                yield node.annotation
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from node.decorator_list
                if node.returns is not None:
                    yield node.returns
            case ast.ClassDef():
                yield from (*node.decorator_list, *node.bases, *_labels(node))
            case _:
                pass
    yield from _types(tree)


def _types(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what defines types at the level of the module."""
    for statement in tree.body:
        match statement:
            case ast.Assign(value=ast.Call(ast.Name("TypeVar" | "ParamSpec" | "NewType")) | ast.Subscript(ast.Name())):
                yield statement
            case ast.Assign(value=ast.BinOp(op=ast.BitOr())):
                yield statement
            case _:
                pass


def _labels(node: ast.ClassDef) -> list[ast.stmt]:
    """Return the members of an `Enum`; none of another class."""
    is_enum = any(isinstance(base, ast.Name) and base.id == "Enum" for base in node.bases)
    return [statement for statement in node.body if isinstance(statement, ast.Assign)] if is_enum else []


def _unfit(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield code that cannot be replaced by None or by a string: no Python, or a comparison with a warning."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                yield node
            case ast.Subscript(value=ast.Call()):
                yield node.value
            case ast.Compare(ops=[ast.Is() | ast.IsNot()]):
                yield from node.comparators
            case _:
                pass
