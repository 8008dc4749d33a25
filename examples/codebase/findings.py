"""What is found in source files, and how findings add up."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.comprehension, ast.match_case)


@dataclass(frozen=True, slots=True, order=True)
class Peak:
    """The function that has most of something; of equals the last by name, so that the order of adding does not count."""

    amount: int = 0
    function: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Counts over some files. Each task finds some of them and leaves the others at nothing."""

    files: int = 0
    unparsable_files: int = 0
    classes: int = 0
    functions: int = 0
    branches: int = 0
    imports: int = 0
    complexity: int = 0
    """McCabe's number, summed over all functions."""
    longest_function: Peak = Peak()
    """By its lines."""
    most_complex_function: Peak = Peak()
    code_lines: int = 0
    comment_lines: int = 0
    blank_lines: int = 0

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(**{field.name: _together(field.name, self, other) for field in fields(self)})


def _together(name: str, one: Findings, other: Findings) -> Any:
    first, second = getattr(one, name), getattr(other, name)
    return max(first, second) if isinstance(first, Peak) else first + second


def measure(file: Path) -> Findings:
    """What the syntax tree of a Python file tells.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return Findings(files=1, unparsable_files=1)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    complexities = [Peak(1 + sum(map(_branches, _body(node))), f"{file.name}:{node.name}") for node in functions]
    return Findings(
        files=1,
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        functions=len(functions),
        branches=sum(map(_branches, nodes)),
        imports=sum(len(node.names) for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)),
        complexity=sum(peak.amount for peak in complexities),
        longest_function=max((Peak(_lines(node), f"{file.name}:{node.name}") for node in functions), default=Peak()),
        most_complex_function=max(complexities, default=Peak()),
    )


def _branches(node: ast.AST) -> int:
    """How many ways a node adds to those that lead through its function."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    return isinstance(node, _BRANCHES)


def _body(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of the functions in it."""
    todo = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            todo += ast.iter_child_nodes(node)


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1
