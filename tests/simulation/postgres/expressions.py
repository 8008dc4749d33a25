"""Expressions of SQL, compiled to functions of the rows at hand. NULL is None, and spreads as in SQL."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlglot import exp

from simulation.postgres.tables import Key, Row
from simulation.postgres.values import cast_to, to_json

Rows = dict[str, Any]
"""By alias, the row that each source contributes. Of an aggregate: under `GROUP` all such rows of its group."""
Compiled = Callable[[Rows, "Execution"], Any]
GROUP = "\0group"
BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class Execution:
    """One statement as it runs: its arguments, what it sees, and what it will have changed."""

    database: Any
    arguments: Sequence[Any]
    now: datetime
    named: dict[str, list[Row]] = field(default_factory=dict)
    changes: dict[str, dict[Key, Row | None]] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """The sources whose columns can be named, and those of the query around."""

    sources: dict[str, Sequence[str]] = field(default_factory=dict)
    outer: "Scope | None" = None

    def source_of(self, column: str) -> str:
        """The source of a column that is named alone. Of those that share it by USING, the first."""
        for alias, columns in self.sources.items():
            if column in columns:
                return alias
        if self.outer is None:
            raise NotImplementedError(f"no source has a column {column!r}")
        return self.outer.source_of(column)

    def has_column(self, column: str) -> bool:
        """Whether a source has it."""
        found = any(column in columns for columns in self.sources.values())
        return found or (self.outer is not None and self.outer.has_column(column))

    def has_source(self, alias: str) -> bool:
        return alias in self.sources or (self.outer is not None and self.outer.has_source(alias))


class Compiler:
    """Compiles expressions within a scope. `query` compiles a query inside an expression."""

    def __init__(self, scope: Scope, query: Callable[[exp.Expression, Scope], Any]) -> None:
        self._scope = scope
        self._query = query

    def __call__(self, node: exp.Expression) -> Compiled:
        for kind in type(node).__mro__:
            method = getattr(self, f"_{kind.__name__.lower()}", None)
            if method is not None:
                compiled: Compiled = method(node)
                return compiled
        raise NotImplementedError(f"{type(node).__name__}: {node.sql('postgres')}")

    # names and values -------------------------------------------------------------------------------
    def _column(self, node: exp.Column) -> Compiled:
        name, alias = node.name, node.table
        if name == "ctid":
            alias = alias or next(iter(self._scope.sources))
        if not alias and not self._scope.has_column(name) and self._scope.has_source(name):
            return lambda rows, _: rows[name]
        alias = alias or self._scope.source_of(name)

        def column(rows: Rows, _: Execution) -> Any:
            row = rows[alias]
            return None if row is None else row[name]

        return column

    def _parameter(self, node: exp.Parameter) -> Compiled:
        index = int(node.name) - 1
        return lambda _, run: run.arguments[index]

    def _literal(self, node: exp.Literal) -> Compiled:
        if node.this == "-infinity":
            return lambda *_: BEFORE_ALL
        value = node.this if node.is_string else float(node.this) if "." in node.this else int(node.this)
        return lambda *_: value

    def _null(self, _: exp.Null) -> Compiled:
        return lambda *_: None

    def _boolean(self, node: exp.Boolean) -> Compiled:
        return lambda *_: node.this

    def _paren(self, node: exp.Paren) -> Compiled:
        return self(node.this)

    def _alias(self, node: exp.Alias) -> Compiled:
        return self(node.this)

    def _tuple(self, node: exp.Tuple) -> Compiled:
        parts = [self(part) for part in node.expressions]
        return lambda rows, run: tuple(part(rows, run) for part in parts)

    def _cast(self, node: exp.Cast) -> Compiled:
        value, convert = self(node.this), cast_to(node.to)
        return lambda rows, run: convert(value(rows, run))

    def _subquery(self, node: exp.Subquery) -> Compiled:
        query = self._query(node.this, self._scope)

        def scalar(rows: Rows, run: Execution) -> Any:
            found = query.run(run, rows)
            return next(iter(found[0].values())) if found else None

        return scalar

    def _exists(self, node: exp.Exists) -> Compiled:
        query = self._query(node.this, self._scope)
        return lambda rows, run: bool(query.run(run, rows))

    def _array(self, node: exp.Array) -> Compiled:
        (only,) = node.expressions
        if isinstance(only, exp.Select) and only.expressions[0].name == "json_array_elements_text":
            return self(only.expressions[0].expressions[0])
        query = self._query(only, self._scope)
        return lambda rows, run: [next(iter(row.values())) for row in query.run(run, rows)]

    # logic ------------------------------------------------------------------------------------------
    def _and(self, node: exp.And) -> Compiled:
        left, right = self(node.left), self(node.right)

        def both(rows: Rows, run: Execution) -> Any:
            one = left(rows, run)
            if one is False:
                return False
            other = right(rows, run)
            return False if other is False else None if one is None or other is None else True

        return both

    def _or(self, node: exp.Or) -> Compiled:
        left, right = self(node.left), self(node.right)

        def either(rows: Rows, run: Execution) -> Any:
            one = left(rows, run)
            if one is True:
                return True
            other = right(rows, run)
            return True if other is True else None if one is None or other is None else False

        return either

    def _not(self, node: exp.Not) -> Compiled:
        value = self(node.this)
        return lambda rows, run: None if (one := value(rows, run)) is None else not one

    def _is(self, node: exp.Is) -> Compiled:
        value, other = self(node.this), self(node.expression)
        same = not node.args.get("negate")
        return lambda rows, run: (value(rows, run) is other(rows, run)) is same

    def _compare(self, node: exp.Binary, compare: Callable[[Any, Any], Any]) -> Compiled:
        left, any_of = self(node.left), isinstance(node.right, exp.Any)
        right = self(node.right.this if any_of else node.right)

        def compared(rows: Rows, run: Execution) -> Any:
            one, other = left(rows, run), right(rows, run)
            if one is None or other is None:
                return None
            return any(compare(one, item) for item in other) if any_of else compare(one, other)

        return compared

    def _eq(self, node: exp.EQ) -> Compiled:
        return self._compare(node, operator.eq)

    def _neq(self, node: exp.NEQ) -> Compiled:
        return self._compare(node, operator.ne)

    def _lt(self, node: exp.LT) -> Compiled:
        return self._compare(node, operator.lt)

    def _lte(self, node: exp.LTE) -> Compiled:
        return self._compare(node, operator.le)

    def _gt(self, node: exp.GT) -> Compiled:
        return self._compare(node, operator.gt)

    def _gte(self, node: exp.GTE) -> Compiled:
        return self._compare(node, operator.ge)

    def _in(self, node: exp.In) -> Compiled:
        value, items = self(node.this), [self(item) for item in node.expressions]
        if node.args.get("query"):
            query = self._query(node.args["query"], self._scope)
            return lambda rows, run: value(rows, run) in [next(iter(row.values())) for row in query.run(run, rows)]
        return lambda rows, run: (
            None if (one := value(rows, run)) is None else any(one == item(rows, run) for item in items)
        )

    def _case(self, node: exp.Case) -> Compiled:
        compared = self(node.this) if node.this else None
        branches = [(self(branch.this), self(branch.args["true"])) for branch in node.args["ifs"]]
        default = self(node.args["default"]) if node.args.get("default") else (lambda *_: None)

        def case(rows: Rows, run: Execution) -> Any:
            wanted = compared(rows, run) if compared else True
            for condition, value in branches:
                if condition(rows, run) == wanted:
                    return value(rows, run)
            return default(rows, run)

        return case

    # arithmetic and functions -----------------------------------------------------------------------
    def _add(self, node: exp.Add) -> Compiled:
        return self._compare(node, operator.add)

    def _sub(self, node: exp.Sub) -> Compiled:
        return self._compare(node, operator.sub)

    def _mul(self, node: exp.Mul) -> Compiled:
        return self._compare(node, operator.mul)

    def _coalesce(self, node: exp.Coalesce) -> Compiled:
        choices = [self(choice) for choice in (node.this, *node.expressions)]
        return lambda rows, run: next((one for choice in choices if (one := choice(rows, run)) is not None), None)

    def _extract(self, node: exp.Extract) -> Compiled:
        assert node.name.upper() == "EPOCH", node
        value = self(node.expression)

        def seconds(rows: Rows, run: Execution) -> float | None:
            one = value(rows, run)
            if one is None:
                return None
            return one.total_seconds() if isinstance(one, timedelta) else one.timestamp()

        return seconds

    def _makeinterval(self, node: exp.MakeInterval) -> Compiled:
        seconds = self(node.args["second"].expression)
        return lambda rows, run: timedelta(seconds=seconds(rows, run))

    def _currenttimestamp(self, _: exp.CurrentTimestamp) -> Compiled:
        return lambda _, run: run.now

    def _startswith(self, node: exp.StartsWith) -> Compiled:
        value, prefix = self(node.this), self(node.expression)
        return lambda rows, run: None if (one := value(rows, run)) is None else one.startswith(prefix(rows, run))

    def _anonymous(self, node: exp.Anonymous) -> Compiled:
        function = getattr(self, f"_call_{node.name.lower()}", None)
        if function is None:
            raise NotImplementedError(f"function {node.name}")
        compiled: Compiled = function(*(self(argument) for argument in node.expressions))
        return compiled

    def _call_clock_timestamp(self) -> Compiled:
        return lambda _, run: run.now

    def _call_row_to_json(self, row: Compiled) -> Compiled:
        return lambda rows, run: to_json(row(rows, run))

    def _call_hashtext(self, text: Compiled) -> Compiled:
        return text

    def _call_pg_advisory_xact_lock(self, _: Compiled) -> Compiled:
        return lambda *_: None

    def _call_hold_lease(self, service: Compiled, epoch: Compiled) -> Compiled:
        return lambda rows, run: run.database.hold_lease(service(rows, run), epoch(rows, run))

    # aggregates -------------------------------------------------------------------------------------
    def _count(self, node: exp.Count) -> Compiled:
        if isinstance(node.this, exp.Star):
            return lambda rows, _: len(rows[GROUP])
        value = self(node.this)
        return lambda rows, run: sum(value(row, run) is not None for row in rows[GROUP])

    def _max(self, node: exp.Max) -> Compiled:
        return self._most(node, max)

    def _min(self, node: exp.Min) -> Compiled:
        return self._most(node, min)

    def _most(self, node: exp.AggFunc, choose: Callable[..., Any]) -> Compiled:
        value = self(node.this)
        return lambda rows, run: choose(
            (one for row in rows[GROUP] if (one := value(row, run)) is not None), default=None
        )
