"""Statements of SQL, compiled once and run over tables in memory.

What the project's own statements need is there and nothing else; anything more is refused when it is compiled. A
statement sees the tables as they were before it, however many parts it has. Two parts that write one row, of which
Postgres would silently lose one, are an error here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from itertools import zip_longest
from typing import Any

import asyncpg
from sqlglot import exp

from simulation.postgres.expressions import GROUP, Compiled, Compiler, Execution, Rows, Scope
from simulation.postgres.tables import Key, Row, Table
from simulation.postgres.values import cast_to


@dataclass(frozen=True, slots=True)
class Statement:
    """What runs: answers with rows; `verb` and their number make the status."""

    verb: str
    columns: Sequence[str]
    run: Callable[[Execution, Rows], list[Row]]
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """Something in a FROM: rows for each combination of those before it that `fits`."""

    alias: str
    columns: Sequence[str]
    rows: Callable[[Rows, Execution], Any]
    fits: Compiled | None = None
    keep_unmatched: bool = False


class Statements:
    """Compiles statements for one schema."""

    def __init__(self, tables: dict[str, Table], views: dict[str, exp.Expression]) -> None:
        self._tables = tables
        self._views = views
        self._named: dict[str, Sequence[str]] = {}
        self._checks = {name: [self._check(table, one) for one in table.checks] for name, table in tables.items()}

    def compile(self, node: exp.Expression) -> Statement:
        """A whole statement, with the parts that its WITH names."""
        parts = [(cte.alias, self._part(cte)) for cte in node.args["with_"].expressions] if "with_" in node.args else []
        last = self._statement(node, Scope())
        for name, _ in parts:
            self._named.pop(name)

        def run(execution: Execution, rows: Rows) -> list[Row]:
            for name, part in parts:
                execution.named[name] = part.run(execution, rows)
            return last.run(execution, rows)

        return Statement(last.verb, last.columns, run)

    def _part(self, cte: exp.CTE) -> Statement:
        part = self._statement(cte.this, Scope())
        self._named[cte.alias] = part.columns
        return part

    def _statement(self, node: exp.Expression, outer: Scope) -> Statement:
        match node:
            case exp.Select():
                return self._select(node, outer)
            case exp.Subquery():
                return self._select(node.this, outer)
            case exp.Insert():
                return self._insert(node)
            case exp.Update():
                return self._update(node)
            case exp.Delete():
                return self._delete(node)
        raise NotImplementedError(f"{type(node).__name__}: {node.sql('postgres')}")

    def _compiler(self, scope: Scope) -> Compiler:
        return Compiler(scope, self._statement)

    # reading ----------------------------------------------------------------------------------------
    def _select(self, node: exp.Select, outer: Scope) -> Statement:
        scope = Scope(outer=outer)
        where = node.args.get("where")
        conditions = list(where.this.flatten()) if where and isinstance(where.this, exp.And) else []
        conditions = conditions or ([where.this] if where else [])
        sources = self._sources(node, scope, conditions)
        compiler = self._compiler(scope)
        keep = compiler(where.this) if where else None
        columns, values = self._projection(node.expressions, scope, compiler)
        group = node.args.get("group")
        keys = [compiler(key) for key in group.expressions] if group else []
        grouped = bool(group) or any(node_.find(exp.AggFunc) for node_ in node.expressions)
        order = self._order(node, compiler)
        limit = compiler(node.args["limit"].expression) if node.args.get("limit") else None
        distinct = node.args.get("distinct")
        distinct_on = distinct.args.get("on") if distinct else None
        firsts = [compiler(one) for one in distinct_on.expressions] if distinct_on else []

        def run(execution: Execution, around: Rows) -> list[Row]:
            found = [rows for rows in _combinations(sources, around, execution) if not keep or keep(rows, execution)]
            if grouped:
                found = _groups(found, keys, around, execution)
            if order:
                found.sort(key=cmp_to_key(lambda one, other: order(one, other, execution)))
            if firsts:
                found = [group[0] for group in _grouped(found, firsts, execution).values()]
            if limit is not None:
                found = found[: limit(around, execution)]
            made = [dict(zip(columns, (value(rows, execution) for value in values), strict=True)) for rows in found]
            return list({tuple(row.values()): row for row in made}.values()) if distinct and not firsts else made

        return Statement("SELECT", columns, run)

    def _projection(
        self, expressions: list[exp.Expression], scope: Scope, compiler: Compiler
    ) -> tuple[list[str], list[Compiled]]:
        named: list[tuple[str, Compiled]] = []
        for number, expression in enumerate(expressions):
            if expression.is_star:
                for alias in [expression.table] if isinstance(expression, exp.Column) else scope.sources:
                    named += [(name, compiler(exp.column(name, alias))) for name in scope.sources[alias]]
            else:
                has_name = isinstance(expression, (exp.Column, exp.Alias))
                named.append((expression.alias_or_name if has_name else f"column{number}", compiler(expression)))
        assert len({name for name, _ in named}) == len(named), f"two columns of one name: {expressions}"
        return [name for name, _ in named], [value for _, value in named]

    def _order(self, node: exp.Select, compiler: Compiler) -> Callable[[Rows, Rows, Execution], int] | None:
        order = node.args.get("order")
        if order is None:
            return None
        keys = [(compiler(one.this), bool(one.args.get("desc"))) for one in order.expressions]

        def compare(one: Rows, other: Rows, execution: Execution) -> int:
            for key, descending in keys:
                left, right = key(one, execution), key(other, execution)
                if left != right:
                    is_first = right is None or (left is not None and left < right)  # NULL is the largest
                    return -1 if is_first != descending else 1
            return 0

        return compare

    def _sources(self, node: exp.Expression, scope: Scope, conditions: list[exp.Expression]) -> list[Source]:
        sources: list[Source] = []
        if node.args.get("from_"):
            sources.append(self._source(node.args["from_"].this, scope, conditions))
        for join in node.args.get("joins") or ():
            shared = [one.name for one in join.args.get("using") or ()]
            using = [
                exp.EQ(
                    this=exp.column(name, _alias(join.this)),
                    expression=exp.column(name, scope.source_of(name)),
                )
                for name in shared
            ]
            on = [*using, *([join.args["on"]] if join.args.get("on") else [])]
            source = self._source(join.this, scope, [*on, *conditions])
            fits = self._compiler(scope)(exp.and_(*on, copy=False)) if on else None
            left = join.side == "LEFT"
            sources.append(Source(source.alias, source.columns, source.rows, fits, left))
        return sources

    def _source(self, node: exp.Expression, scope: Scope, conditions: list[exp.Expression]) -> Source:
        source = self._plain_source(node, scope, conditions)
        scope.sources[source.alias] = source.columns
        return source

    def _plain_source(self, node: exp.Expression, scope: Scope, conditions: list[exp.Expression]) -> Source:
        alias = _alias(node)
        match node:
            case exp.Unnest():
                return self._unnest(node, alias, scope)
            case exp.Lateral() | exp.Subquery():
                query = self._statement(node.this, scope)
                return Source(alias, query.columns, lambda rows, run: query.run(run, rows))
            case exp.Table(this=exp.Anonymous() as function):
                return self._populated(function, alias, scope)
            case exp.Table() if node.name in self._named:
                return Source(alias, self._named[node.name], lambda _, run: run.named[node.name])
            case exp.Table() if node.name in self._views:
                view = self._statement(self._views[node.name], Scope())
                return Source(alias, view.columns, lambda _, run: view.run(run, {}))
            case exp.Table():
                return self._table(self._tables[node.name], alias, scope, conditions)
        raise NotImplementedError(f"FROM {node.sql('postgres')}")

    def _unnest(self, node: exp.Unnest, alias: str, scope: Scope) -> Source:
        arrays = [self._compiler(scope)(one) for one in node.expressions]
        given = node.args.get("alias")
        columns = (
            [one.name for one in given.columns] if given and given.columns else [f"{n}" for n in range(len(arrays))]
        )

        def rows(around: Rows, run: Execution) -> list[Row]:
            values = zip_longest(*(array(around, run) for array in arrays))
            return [dict(zip(columns, row, strict=True)) for row in values]

        return Source(alias, columns, rows)

    def _populated(self, function: exp.Anonymous, alias: str, scope: Scope) -> Source:
        compiler = self._compiler(scope)
        assert function.name == "json_populate_recordset", function.name
        table, body = self._tables[function.expressions[0].name], compiler(function.expressions[1])
        casts = {one.name: cast_to(one.kind, of_json=True) for one in table.columns.values()}

        def rows(around: Rows, run: Execution) -> list[Row]:
            return [{name: cast(one.get(name)) for name, cast in casts.items()} for one in body(around, run)]

        return Source(alias, list(casts), rows)

    def _table(self, table: Table, alias: str, scope: Scope, conditions: list[exp.Expression]) -> Source:
        key = self._key_lookup(table, alias, scope, conditions)

        def rows(around: Rows, run: Execution) -> Any:
            stored = run.database.rows_of(table.name)
            if key is None:
                return stored.values()
            return [row for one in key(around, run) if (row := stored.get(one)) is not None]

        return Source(alias, list(table.columns), rows)

    def _key_lookup(
        self, table: Table, alias: str, scope: Scope, conditions: list[exp.Expression]
    ) -> Callable[[Rows, Execution], Any] | None:
        """The keys of the rows that can fit, where the conditions say what the whole key is equal to."""
        compiler = self._compiler(scope)
        parts: dict[str, Compiled] = {}
        for condition in conditions:
            for side, other in ((condition.this, condition.expression), (condition.expression, condition.this)):
                if not isinstance(condition, exp.EQ) or not isinstance(side, exp.Column) or side.name not in table.key:
                    continue
                known = all(scope.has_source(column.table) for column in other.find_all(exp.Column))
                if (side.table and side.table != alias) or not known or other.find(exp.Subquery, exp.Select):
                    continue
                if not isinstance(other, exp.Any):
                    parts.setdefault(side.name, compiler(other))
                elif len(table.key) == 1:
                    items = compiler(other.this)
                    return lambda rows, run: [(item,) for item in dict.fromkeys(items(rows, run) or ())]
        if set(parts) != set(table.key):
            return None
        ordered = [parts[name] for name in table.key]
        return lambda rows, run: [tuple(part(rows, run) for part in ordered)]

    # writing ----------------------------------------------------------------------------------------
    def _insert(self, node: exp.Insert) -> Statement:
        target = node.this.this if isinstance(node.this, exp.Schema) else node.this
        table, alias = self._tables[target.name], target.alias_or_name
        names = [one.name for one in node.this.expressions] or list(table.columns)
        source = self._values(node.expression)
        scope = Scope({alias: list(table.columns), "excluded": list(table.columns)})
        conflict = self._conflict(node.args.get("conflict"), table, alias, scope)
        returning = node.args.get("returning")
        compiler = self._compiler(Scope({alias: list(table.columns)}))
        columns, values = self._projection(returning.expressions, scope, compiler) if returning else ([], [])
        complete = self._completion(table)

        def run(execution: Execution, around: Rows) -> list[Row]:
            answer = []
            for given in source.run(execution, around):
                new = complete(dict(zip(names, given.values(), strict=False)), execution)
                written = conflict(new, execution)
                if written is not None:
                    self._write(table, table.key_of(written), written, execution)
                    answer.append(
                        {name: value({alias: written}, execution) for name, value in zip(columns, values, strict=True)}
                    )
            return answer

        return Statement("INSERT", columns, run)

    def _values(self, node: exp.Expression) -> Statement:
        if not isinstance(node, exp.Values):
            return self._statement(node, Scope())
        compiler = self._compiler(Scope())
        tuples = [[compiler(value) for value in one.expressions] for one in node.expressions]

        def run(execution: Execution, rows: Rows) -> list[Row]:
            return [{str(n): value(rows, execution) for n, value in enumerate(one)} for one in tuples]

        return Statement("VALUES", [], run)

    def _completion(self, table: Table) -> Callable[[Row, Execution], Row]:
        """Fills in defaults and what Postgres computes."""
        compiler = self._compiler(Scope({table.name: list(table.columns)}))
        defaults = {one.name: compiler(one.default) for one in table.columns.values() if one.default is not None}
        generated = {one.name: compiler(one.generated) for one in table.columns.values() if one.generated is not None}
        identities = [one.name for one in table.columns.values() if one.is_identity]

        def complete(given: Row, execution: Execution) -> Row:
            row = {name: given.get(name) for name in table.columns}
            for name, default in defaults.items():
                if name not in given:
                    row[name] = default({}, execution)
            for name in identities:
                table.last_identity += 1
                row[name] = table.last_identity
            for name, value in generated.items():
                row[name] = value({table.name: row}, execution)
            return row

        return complete

    def _conflict(
        self, node: exp.OnConflict | None, table: Table, alias: str, scope: Scope
    ) -> Callable[[Row, Execution], Row | None]:
        """What is written for a new row: itself, what is there changed, or nothing."""
        compiler = self._compiler(scope)
        updates = {one.this.name: compiler(one.expression) for one in node.expressions} if node else {}
        where = compiler(node.args["where"].this) if node and node.args.get("where") else None
        names = tuple(one.find(exp.Column).name for one in node.args.get("conflict_keys") or ()) if node else ()

        def resolve(new: Row, execution: Execution) -> Row | None:
            rows = execution.database.rows_of(table.name)
            old = rows.get(table.key_of(new)) if names in ((), table.key) else _equal(rows.values(), new, names)
            if old is None:
                return new
            if node is None:
                raise asyncpg.UniqueViolationError(f"{table.name}: {table.key_of(new)} is there")
            both = {alias: old, "excluded": new}
            if not updates or (where and not where(both, execution)):
                return None
            return old | {name: value(both, execution) for name, value in updates.items()}

        return resolve

    def _update(self, node: exp.Update) -> Statement:
        table, alias = self._tables[node.this.name], node.this.alias_or_name
        where = node.args["where"].this
        conditions = list(where.flatten()) if isinstance(where, exp.And) else [where]
        scope = Scope()
        sources = self._sources(node, scope, conditions)
        sources.append(self._source(node.this, scope, conditions))
        scope.sources = {alias: scope.sources.pop(alias), **scope.sources}
        compiler = self._compiler(scope)
        keep = compiler(where)
        updates = {one.this.name: compiler(one.expression) for one in node.expressions}
        complete = self._completion(table)

        def run(execution: Execution, around: Rows) -> list[Row]:
            changed = []
            for rows in _combinations(sources, around, execution):
                if keep(rows, execution):
                    new = rows[alias] | {name: value(rows, execution) for name, value in updates.items()}
                    new = complete(new, execution)
                    self._write(table, table.key_of(rows[alias]), new, execution)
                    changed.append(new)
            return changed

        return Statement("UPDATE", [], run)

    def _delete(self, node: exp.Delete) -> Statement:
        table, alias = self._tables[node.this.name], node.this.alias_or_name
        where = node.args["where"].this
        scope = Scope()
        source = self._source(node.this, scope, [where])
        keep = self._compiler(scope)(where)

        def run(execution: Execution, around: Rows) -> list[Row]:
            gone = [one[alias] for one in _combinations([source], around, execution) if keep(one, execution)]
            for row in gone:
                self._write(table, table.key_of(row), None, execution)
            return gone

        return Statement("DELETE", [], run)

    def _write(self, table: Table, key: Key, row: Row | None, execution: Execution) -> None:
        changes = execution.changes.setdefault(table.name, {})
        if key in changes:
            raise asyncpg.CardinalityViolationError(f"{table.name} {key} is written twice by one statement")
        if row is not None:
            table.check_whole(row)
            for check in self._checks[table.name]:
                if check({table.name: row}, execution) is False:
                    raise asyncpg.CheckViolationError(f"{table.name}: {row}")
            row = row | {"ctid": key}
        changes[key] = row

    def _check(self, table: Table, node: exp.Expression) -> Compiled:
        return self._compiler(Scope({table.name: list(table.columns)}))(node)


def _alias(node: exp.Expression) -> str:
    alias = node.args.get("alias")
    if alias is not None and alias.name:
        return str(alias.name)
    return "unnest" if isinstance(node, exp.Unnest) else node.alias_or_name or node.this.name


def _combinations(sources: list[Source], around: Rows, execution: Execution) -> Iterator[Rows]:
    if not sources:
        yield around
        return
    first, rest = sources[0], sources[1:]
    matched = False
    for row in first.rows(around, execution):
        rows = {**around, first.alias: row}
        if first.fits is None or first.fits(rows, execution):
            matched = True
            yield from _combinations(rest, rows, execution)
    if first.keep_unmatched and not matched:
        yield from _combinations(rest, {**around, first.alias: None}, execution)


def _groups(found: list[Rows], keys: list[Compiled], around: Rows, execution: Execution) -> list[Rows]:
    groups = _grouped(found, keys, execution)
    if not keys and not groups:
        return [{**around, GROUP: []}]
    return [{**group[0], GROUP: group} for group in groups.values()]


def _grouped(found: list[Rows], keys: list[Compiled], execution: Execution) -> dict[Key, list[Rows]]:
    groups: dict[Key, list[Rows]] = {}
    for rows in found:
        groups.setdefault(tuple(key(rows, execution) for key in keys), []).append(rows)
    return groups


def _equal(rows: Iterable[Row], new: Row, names: tuple[str, ...]) -> Row | None:
    """The row that has the same in these columns. NULL is like nothing."""
    wanted = [new[name] for name in names]
    return None if None in wanted else next((row for row in rows if [row[name] for name in names] == wanted), None)
