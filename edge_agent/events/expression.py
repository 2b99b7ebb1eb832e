"""Expressions over tags: a small language that is checked when it is read, and can neither reach anything nor run for long.

Numbers, texts to compare, names, ``+ - * / // %``, comparisons, ``and or not``, ``a if b else c`` and the functions abs, min, max, round; 500
characters. Everything else is refused with its name: powers and shifts (their results grow without bounds), attributes,
subscripts, f-strings, calls of anything else. What arithmetic gets must be numbers.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

LONGEST = 500
_DEEPEST = 40
"""Nesting that is far beyond what people write, and far below what the interpreter's stack holds."""


def _numbers(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def only(left: Any, right: Any) -> Any:
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            raise TypeError("texts cannot be calculated with")
        return operation(left, right)

    return only


def _of_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    def only(*given: Any) -> Any:
        if not all(isinstance(one, int | float) for one in given):
            raise TypeError("texts cannot be calculated with")
        return function(*given)

    return only


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _numbers(operator.add),
    ast.Sub: _numbers(operator.sub),
    ast.Mult: _numbers(operator.mul),
    ast.Div: _numbers(operator.truediv),
    ast.FloorDiv: _numbers(operator.floordiv),
    ast.Mod: _numbers(operator.mod),
    ast.USub: _of_numbers(operator.neg),
    ast.UAdd: _of_numbers(operator.pos),
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: _of_numbers(one) for name, one in (("abs", abs), ("min", min), ("max", max), ("round", round))
}
_SYNTAX = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.Compare,
    ast.IfExp,
    ast.Name,
    ast.Load,
    ast.Call,
)
_REFUSED = {
    ast.Pow: "** (powers grow without bounds: multiply)",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.Attribute: "an attribute (a tag is named by its place in tags:, as in tags: {total: plc1.count})",
    ast.Subscript: "a subscript",
    ast.JoinedStr: "an f-string",
    ast.Lambda: "lambda",
    ast.NamedExpr: ":=",
}


class UnusableError(ValueError):
    """The values give no result; the text says why."""


class Expression:
    """A checked expression; ``names`` are what it needs values of, ``together`` those of them that want one read: all, where it is no plain sum."""

    def __init__(self, text: str) -> None:
        """Check ``text``. Raises ValueError, ``cause; remedy``, for anything that is not of the language."""
        if len(text) > LONGEST:
            raise ValueError(f"the expression has {len(text)} characters; {LONGEST} are allowed, use several derived tags")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what Python doubts is refused
                tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError, Warning) as error:
            raise ValueError(
                f"'{text}' is no expression ({getattr(error, 'msg', None) or error}); write one like total - scrap"
            ) from None
        _check(tree, 0)
        self.text, self._tree = text, tree.body
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        self.names = tuple(
            dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called)
        )
        self._evaluator = SimpleEval(operators=_OPERATORS, functions=_FUNCTIONS)
        self.together = frozenset(() if _sums(tree) else self.names)

    def value(self, values: Mapping[str, Any]) -> bool | int | float | str:
        """Return the result for the values of all names. Raises UnusableError where there is none (division by zero, texts, no number)."""
        self._evaluator.names = values
        try:
            result = self._evaluator.eval(self.text, previously_parsed=self._tree)
        except (InvalidExpression, ArithmeticError, TypeError, ValueError) as error:
            raise UnusableError(str(error)) from None
        if isinstance(result, float) and not isfinite(result):
            raise UnusableError("the result is no number")
        if not isinstance(result, bool | int | float | str):
            raise UnusableError("the result is no value")
        return result


def _check(node: ast.AST, depth: int) -> None:
    """Raise ValueError for the first thing that is not of the language."""
    if depth > _DEEPEST:
        raise ValueError("the expression is nested too deeply; use several derived tags")
    if isinstance(node, ast.Constant):
        plain = isinstance(node.value, bool | int | float | str)
        if not plain:
            raise ValueError(f"{ast.unparse(node)} is not allowed in an expression; write a number or a text")
    elif isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and not node.keywords
        if not known:
            raise ValueError(f"{ast.unparse(node.func)}(...) is not allowed in an expression; there are {', '.join(_FUNCTIONS)}")
    elif not isinstance(node, _SYNTAX) and type(node) not in _OPERATORS:
        what = _REFUSED.get(type(node), type(node).__name__)
        raise ValueError(f"{what} is not allowed in an expression; there are + - * / // % and comparisons, and or not, if else")
    for child in ast.iter_child_nodes(node):
        _check(child, depth + 1)


def _sums(node: ast.AST) -> bool:
    """Whether names are only added up, with positive factors.

    A difference can be written in too many ways (``a + b * -1``, ``a + b * (0 - 1)``, ``a - min(b, c)``) to look for it.
    """
    if isinstance(node, ast.Expression):
        return _sums(node.body)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.UAdd) and _sums(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _sums(node.left) and _sums(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return (_sums(node.left) and _positive(node.right)) or (_positive(node.left) and _sums(node.right))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _sums(node.left) and _positive(node.right)
    return isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and not isinstance(node.value, str))


def _positive(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and node.value > 0
