"""The mutants of a source text: every place, and what may stand there instead.

`alternatives` lists the changes, `mutants` finds the places, `mutated` makes one change.
"""

import ast
import copy
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

ARITHMETIC: dict[type, list[type]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult], ast.FloorDiv: [ast.Mult], ast.Mod: [ast.Mult],
}  # fmt: skip
COMPARISON: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.Lt], ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn], ast.NotIn: [ast.In],
}  # fmt: skip
SIBLINGS = {
    "maximum": "minimum", "minimum": "maximum", "exp": "expm1", "expm1": "exp", "log": "log1p",
    "sum": "mean", "mean": "sum", "zeros_like": "ones_like", "zeros": "ones", "all": "any",
    "any": "all", "sigmoid": "softplus", "softplus": "sigmoid", "tanh": "arctan",
}  # fmt: skip
ANNOTATIONS = {("FunctionDef", "returns"), ("arg", "annotation"), ("AnnAssign", "annotation")}


class Mutant(NamedTuple):
    """One change: ``before`` in ``where`` (a function of the file) becomes ``after``."""

    module: str
    line: int
    where: str
    before: str
    after: str
    path: tuple[tuple[str, int | None], ...]  # from the root of the tree to the node
    node: ast.AST  # what stands there instead

    def key(self) -> tuple[str, ...]:
        """What names it in the list of equivalents."""
        return self.module, self.where, self.before, self.after


def alternatives(node: ast.AST, looped: bool) -> Iterator[ast.AST]:
    """What may stand in the place of ``node``; ``looped`` says whether it is in a loop."""
    match node:
        case ast.BinOp(left, op, right):
            yield from (_with(node, op=new()) for new in ARITHMETIC.get(type(op), []))
            if isinstance(op, ast.MatMult):
                yield _with(node, left=right, right=left)
            if not isinstance(op, ast.BitOr):  # A | B is a type
                yield from (left, right)
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.BoolOp(op, values):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            yield from (values[0], values[-1])
        case ast.Compare(_, ops):
            for i, op in enumerate(ops):
                for new in COMPARISON[type(op)]:
                    yield _with(node, ops=[*ops[:i], new(), *ops[i + 1 :]])
        case ast.Constant(value):
            yield from (ast.Constant(v) for v in _numbers_near(value))
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.If():
            yield from (_with(node, test=ast.Constant(v)) for v in (True, False))
        case ast.Call():
            yield from _calls(node)
        case ast.Tuple(elts=[first, second, *rest]) if not all(map(_is_text, node.elts)):
            yield _with(node, elts=[second, first, *rest])
        case ast.Slice():
            yield from (_with(node, **{end: None}) for end in ("lower", "upper"))
        case _:
            yield from _statements(node, looped)


def _statements(node: ast.AST, looped: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value) if value is not None:
            yield ast.Return(ast.Constant(None))
            if isinstance(value, ast.BinOp | ast.Call):
                yield ast.Return(ast.UnaryOp(ast.USub(), value))
        case ast.AugAssign(target, op, value):
            yield from (_with(node, op=new()) for new in ARITHMETIC[type(op)])
            yield ast.Assign([target], value, lineno=node.lineno)
            yield ast.Pass()
        case ast.Expr(ast.Call()) | ast.Raise():
            yield ast.Pass()
        case ast.Assign(targets) if looped or not isinstance(targets[0], ast.Name | ast.Tuple):
            yield ast.Pass()


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    """Swapped or missing arguments, a sibling of the function, or no function at all."""
    args, name = node.args, getattr(node.func, "attr", getattr(node.func, "id", ""))
    if args and not isinstance(args[0], ast.Starred | ast.GeneratorExp):
        yield args[0]
    for i in range(len(args) - 1):
        yield _with(node, args=[*args[:i], args[i + 1], args[i], *args[i + 2 :]])
    if len(args) > 1:
        yield _with(node, args=args[:-1])
    for i in range(len(node.keywords)):
        yield _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
    if name in SIBLINGS and isinstance(node.func, ast.Attribute):
        yield _with(node, func=_with(node.func, attr=SIBLINGS[name]))
    elif name in SIBLINGS:
        yield _with(node, func=ast.Name(SIBLINGS[name], ast.Load()))


def _numbers_near(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    return [value * 1.01 if value else 0.01, value + 1.0] if isinstance(value, float) else []


def _with(node: ast.AST, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def mutants(module: str, source: str) -> list[Mutant]:
    """All mutants of a source text, in its order."""
    tree = ast.parse(source)
    original = functools.cache(ast.unparse)  # of a statement
    found: dict[tuple[Any, ...], Mutant] = {}

    def visit(
        node: ast.AST, path: tuple[Any, ...], where: str, statement: Any, looped: bool
    ) -> None:
        if _is_text(node) or isinstance(node, ast.Import | ast.ImportFrom):
            return
        if isinstance(node, ast.stmt):
            statement = node
        for new in alternatives(node, looped) if path else ():
            line = getattr(node, "lineno", statement.lineno)
            before, after = _difference(original(statement), _unparsed(statement, node, new))
            if before != after:
                mutant = Mutant(module, line, where, before, after, path, new)
                found.setdefault((*mutant.key(), line), mutant)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            where = f"{where}.{node.name}".lstrip(".")
        looped = looped or isinstance(node, ast.For)
        for field, value in ast.iter_fields(node):
            if (type(node).__name__, field) in ANNOTATIONS:
                continue
            for i, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    visit(child, (*path, (field, i)), where, statement, looped)

    visit(tree, (), "", None, False)
    return list(found.values())


def _unparsed(statement: ast.AST, node: ast.AST, new: ast.AST) -> str:
    """The statement with ``new`` for ``node``."""

    class Swap(ast.NodeTransformer):
        def visit(self, at: ast.AST) -> Any:
            return new if at is node else self.generic_visit(_shallow(at))

    return ast.unparse(ast.fix_missing_locations(Swap().visit(statement)))


def _shallow(node: ast.AST) -> ast.AST:
    """A copy whose lists are its own, so that the original stays as it is."""
    fields = {n: list(v) if isinstance(v, list) else v for n, v in ast.iter_fields(node)}
    return _with(node, **fields)


def _difference(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, of two texts with the same beginning and end."""
    a, b = before.splitlines(), after.splitlines()
    while a and b and a[0] == b[0]:
        a, b = a[1:], b[1:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return "; ".join(map(str.strip, a)), "; ".join(map(str.strip, b))


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The tree of the source with the change made."""
    tree: Any = ast.parse(source)
    node: Any = tree
    for field, i in mutant.path[:-1]:
        node = getattr(node, field) if i is None else getattr(node, field)[i]
    field, i = mutant.path[-1]
    if i is None:
        setattr(node, field, mutant.node)
    else:
        getattr(node, field)[i] = mutant.node
    return ast.fix_missing_locations(tree)
