"""Rules as text, read by Python's own parser and evaluated here: names, numbers, comparisons, and, or, not, + - * /.

Nothing is executed: whatever is not in this list is refused by name. Functions: `percentile(COLUMN, Q)` over all clips,
`abs(X)`, `min(...)`, `max(...)`.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max}


class Unknown(Exception):
    """A column has no value for this clip."""


class Rule:
    """One expression, with the percentiles it asks for. Raises ValueError for what cannot be read."""

    def __init__(self, text: str, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.text = text
        self._tree = _parse(text)
        self.percentiles = {
            ast.unparse(node): _percentile(rows, *_percentile_arguments(node, text))
            for node in ast.walk(self._tree) if _is_call(node, "percentile")
        }  # fmt: skip

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether the clip passes; not if a column that decides it has no value."""
        try:
            return bool(self._value(self._tree, row))
        except (Unknown, TypeError, ZeroDivisionError):
            return False

    def explain(self, row: Mapping[str, Any]) -> str:
        """The rule with the numbers of this clip."""
        values = [f"{name} is {_short(row.get(name))}" for name in sorted(columns_of(self.text))]
        values += [f"{text} is {_short(value)}" for text, value in self.percentiles.items()]
        return f"rule `{self.text}` fails: {', '.join(values)}"

    def _value(self, node: ast.AST, row: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                if row.get(node.id) is None:
                    raise Unknown
                return row[node.id]
            case ast.UnaryOp(op=ast.Not()):
                return not self._value(node.operand, row)
            case ast.UnaryOp(op=ast.USub()):
                return -self._value(node.operand, row)
            case ast.BoolOp():
                parts = (self._value(part, row) for part in node.values)
                return all(parts) if isinstance(node.op, ast.And) else any(parts)
            case ast.BinOp():
                return _ARITHMETIC[type(node.op)](self._value(node.left, row), self._value(node.right, row))
            case ast.Compare():
                sides = [self._value(side, row) for side in (node.left, *node.comparators)]
                pairs = zip(node.ops, sides, sides[1:], strict=False)
                return all(_COMPARE[type(op)](a, b) for op, a, b in pairs)
            case ast.Call() if _is_call(node, "percentile"):
                value = self.percentiles[ast.unparse(node)]
                if value is None:
                    raise Unknown
                return value
            case ast.Call(func=ast.Name(id=name)):
                return _FUNCTIONS[name](*(self._value(part, row) for part in node.args))
            case ast.Tuple() | ast.List():
                return [self._value(part, row) for part in node.elts]
        raise AssertionError(node)                             # _parse lets nothing else through


def columns_of(text: str) -> set[str]:
    """The columns that an expression reads."""
    tree = _parse(text)
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in called}


def _parse(text: str) -> ast.expr:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"rule {text!r} cannot be read ({error.msg}). Try `motion_p50 >= 0.05`.") from None
    for node in ast.walk(tree):
        if not _is_allowed(node):
            raise ValueError(
                f"rule {text!r}: {ast.unparse(node) if isinstance(node, ast.expr) else type(node).__name__!r} is not "
                "allowed. A rule has columns, numbers, < <= > >= == !=, in, and, or, not, + - * /, "
                f"percentile(COLUMN, Q), {', '.join(_FUNCTIONS)}."
            )
    return tree


def _is_allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in (*_FUNCTIONS, "percentile")
        return named and not node.keywords
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float, str, bool))
    plain = (ast.Name, ast.Load, ast.BoolOp, ast.And, ast.Or, ast.Not, ast.UnaryOp, ast.USub, ast.BinOp, ast.Compare)
    return isinstance(node, (*plain, ast.Tuple, ast.List, *_COMPARE, *_ARITHMETIC))


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _percentile_arguments(node: Any, text: str) -> tuple[str, float]:
    match node.args:
        case [ast.Name(id=column), ast.Constant(value=int() | float() as q)] if 0 <= q <= 100:
            return column, float(q)
    raise ValueError(f"rule {text!r}: write percentile(COLUMN, Q) with Q from 0 to 100, as percentile(motion_p50, 12.5).")


def _percentile(rows: Sequence[Mapping[str, Any]], column: str, q: float) -> float | None:
    values = [row[column] for row in rows if row.get(column) is not None]
    return float(np.percentile(values, q)) if values else None


def _short(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{value:.4g}" if isinstance(value, float) else repr(value)
