"""Tables as the migrations describe them: columns with defaults and checks, keys, rows."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlglot import exp

Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(slots=True)
class Column:
    """A column. `default` is an expression; an identity counts by itself."""

    name: str
    kind: exp.DataType
    nullable: bool = True
    default: exp.Expression | None = None
    is_identity: bool = False
    generated: exp.Expression | None = None


@dataclass(slots=True)
class Table:
    """A table. Rows are never changed in place, so that a copy of `rows` is a snapshot."""

    name: str
    columns: dict[str, Column]
    key: tuple[str, ...]
    unique: list[tuple[str, ...]] = field(default_factory=list)
    checks: list[exp.Expression] = field(default_factory=list)
    rows: dict[Key, Row] = field(default_factory=dict)
    last_identity: int = 0
    _taken: dict[tuple[str, ...], dict[Key, Key]] = field(default_factory=dict)

    def key_of(self, row: Row) -> Key:
        return tuple(row[name] for name in self.key)

    def check_whole(self, row: Row) -> None:
        """Raises what Postgres does for a NULL where none may be."""
        for column in self.columns.values():
            if row[column.name] is None and not column.nullable:
                raise asyncpg.NotNullViolationError(f"{self.name}.{column.name} is null: {row}")

    def apply(self, changes: dict[Key, Row | None]) -> None:
        """Make changes true, after `check_unique` has said that they may be."""
        for key, row in changes.items():
            before = self.rows.pop(key, None) if row is None else self.rows.get(key)
            for names in self.unique:
                taken = self._taken.setdefault(names, {})
                if before is not None:
                    taken.pop(_unique(names, key, before), None)
                if row is not None:
                    taken[_unique(names, key, row)] = key
            if row is not None:
                self.rows[key] = row

    def check_unique(self, changes: dict[Key, Row | None]) -> None:
        """Raises what Postgres does where two rows have the same unique value."""
        for names in self.unique:
            taken = self._taken.setdefault(names, {})
            new: dict[Key, Key] = {}
            for key, row in changes.items():
                if row is None:
                    continue
                value = _unique(names, key, row)
                holder = new.setdefault(value, key) if value in new else taken.get(value, key)
                if holder != key and changes.get(holder, self.rows.get(holder)) is not None:
                    raise asyncpg.UniqueViolationError(f"{self.name} {names}: {value} is there")
                new[value] = key


def _unique(names: tuple[str, ...], key: Key, row: Row) -> Key:
    """What no other row may have in these columns. One with a NULL is like no other."""
    value = tuple(row[name] for name in names)
    return (*value, key) if None in value else value


def tables_of(statements: Iterable[exp.Expression]) -> tuple[dict[str, Table], dict[str, exp.Expression]]:
    """The tables, and the views with their queries, that a migration makes."""
    tables: dict[str, Table] = {}
    views: dict[str, exp.Expression] = {}
    for statement in statements:
        if isinstance(statement, exp.Alter):
            _alter(tables[statement.this.name], statement)
        if not isinstance(statement, exp.Create):
            continue
        if statement.kind == "TABLE":
            table = _table(statement.this)
            tables[table.name] = table
        elif statement.kind == "VIEW":
            views[statement.this.name] = statement.expression
        elif statement.kind == "INDEX" and statement.args.get("unique"):
            index = statement.this
            parameters = index.args["params"]
            names = tuple(one.find(exp.Column).name for one in parameters.args["columns"])
            assert parameters.args.get("where") is None, "a unique index over a part of its table"
            tables[index.args["table"].name].unique.append(names)
    return tables, views


def _table(schema: exp.Schema) -> Table:
    table = Table(schema.this.name, {}, ())
    for part in schema.expressions:
        if isinstance(part, exp.ColumnDef):
            _add_column(table, part)
        elif isinstance(part, exp.PrimaryKey):
            table.key = tuple(one.name for one in part.expressions)
        else:
            raise NotImplementedError(f"{table.name}: {part.sql()}")
    for name in table.key:
        table.columns[name].nullable = False
    return table


def _alter(table: Table, statement: exp.Alter) -> None:
    for action in statement.args["actions"]:
        match action:
            case exp.ColumnDef():
                _add_column(table, action)
            case exp.AlterColumn() if action.args.get("allow_null") is False:
                table.columns[action.name].nullable = False
            case other:
                raise NotImplementedError(f"{table.name}: {other!r}")


def _add_column(table: Table, part: exp.ColumnDef) -> None:
    column = table.columns[part.name] = Column(part.name, part.args["kind"])
    for constraint in part.args.get("constraints", ()):
        match constraint.kind:
            case exp.PrimaryKeyColumnConstraint():
                table.key = (column.name,)
            case exp.NotNullColumnConstraint():
                column.nullable = False
            case exp.DefaultColumnConstraint(this=value):
                column.default = value
            case exp.CheckColumnConstraint(this=condition):
                table.checks.append(condition)
            case exp.GeneratedAsIdentityColumnConstraint() as generated:
                column.generated = generated.args.get("expression")
                column.is_identity = column.generated is None
            case exp.ComputedColumnConstraint(this=value):
                column.generated = value
            case other:
                raise NotImplementedError(f"{table.name}.{column.name}: {other!r}")
