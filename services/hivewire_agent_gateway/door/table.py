"""What a row of the table of routes is made of: who may, what is done, and what is answered."""

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from hivewire import reads
from hivewire.admin import Role
from hivewire.asyncapi import summary
from hivewire.commands import CATALOGUE
from hivewire_agent_gateway.door.calls import Call, json_response

API: Final = "/api/v1"
_NAME: Final = re.compile(r"{(\w+)}")

Roles = frozenset[Role]
ANYBODY: Roles = frozenset({"agent", "publisher", "operator"})
AGENTS: Roles = frozenset({"agent", "operator"})
OPERATORS: Roles = frozenset({"operator"})

Struct = type[msgspec.Struct]


class Action(ABC):
    """What a route does. It gives the answer's body, or a whole response where the status depends."""

    @property
    def body(self) -> Struct | None:
        """What the request's body is read as."""
        return None

    @property
    def parameters(self) -> Struct | None:
        """What the query string is read as."""
        return None

    @property
    def unsaid(self) -> tuple[str, ...]:
        """Fields of these that are not the caller's to say."""
        return ()

    @abstractmethod
    async def __call__(self, call: Call) -> object:
        """Do it."""


@dataclass(frozen=True, slots=True)
class Command(Action):
    """The body, with what the path names, is a command. Its reply is the answer."""

    service: str
    verb: str

    @property
    def body(self) -> Struct:
        return CATALOGUE[self.service][self.verb]

    async def __call__(self, call: Call) -> object:
        return await call.command(self.service, self.verb, call.decode(self.body, **call.path))


@dataclass(frozen=True, slots=True)
class Create(Action):
    """A command that makes something. The answer is what was made, as `query` shows it: 201, or 200 if it was known."""

    service: str
    verb: str
    query: str

    @property
    def body(self) -> Struct:
        return CATALOGUE[self.service][self.verb]

    async def __call__(self, call: Call) -> object:
        brief = await call.command(self.service, self.verb, call.decode(self.body), dict[str, Any])
        named = reads.CATALOGUE[self.service][self.query]
        made = await call.read(self.service, self.query, named(brief[named.__struct_fields__[0]]))
        return json_response(made, 201 if brief.get("created", True) else 200)


@dataclass(frozen=True, slots=True)
class Read(Action):
    """The query string, with what the path names, is what a service is asked for."""

    service: str
    query: str
    unsaid: tuple[str, ...] = ()

    @property
    def parameters(self) -> Struct:
        return reads.CATALOGUE[self.service][self.query]

    async def __call__(self, call: Call) -> object:
        asked = call.parameters(self.parameters, **call.path)
        ask = call.page if hasattr(asked, "limit") else call.read
        return await ask(self.service, self.query, asked)


@dataclass(frozen=True, slots=True)
class ReadByBody(Action):
    """A read that takes more than a query string holds."""

    service: str
    query: str

    @property
    def body(self) -> Struct:
        return reads.CATALOGUE[self.service][self.query]

    async def __call__(self, call: Call) -> object:
        return await call.read(self.service, self.query, call.decode(self.body, **call.path))


@dataclass(frozen=True, slots=True)
class Own(Action):
    """A handler of the door's own."""

    handler: Callable[[Call], Awaitable[object]]
    body: Struct | None = None
    parameters: Struct | None = None
    unsaid: tuple[str, ...] = ()

    async def __call__(self, call: Call) -> object:
        return await self.handler(call)


@dataclass(frozen=True, slots=True)
class Route:
    """One row. `path` is what follows `/api/v1`; it names fields of what the action takes.

    `about` says what it does; where it is empty, the command says so itself. `signed`: an HTTP agent may prove itself by
    a signature of the body instead of a token.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    roles: Roles
    action: Action
    answer: Any
    about: str = ""
    statuses: tuple[int, ...] = (200,)
    signed: bool = False

    @property
    def summary(self) -> str:
        """What it does, in a line."""
        return self.about or (summary(self.action.body) if self.action.body else "")

    @property
    def names(self) -> tuple[str, ...]:
        """What the path names."""
        return tuple(_NAME.findall(self.path))

    @property
    def unsaid(self) -> frozenset[str]:
        """Fields that neither the body nor the query string says."""
        return frozenset((*self.names, *self.action.unsaid))
