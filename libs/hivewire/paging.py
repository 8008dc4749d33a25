"""Listings of any length, read page by page."""

from collections.abc import AsyncIterator
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from hivewire.connection import Connection
from hivewire.errors import RefusedError

T = TypeVar("T")
TOO_LARGE = 413


class PageOf(msgspec.Struct, Generic[T]):
    """One page of a listing. `cursor` asks for the next; None: there is none."""

    items: list[T]
    cursor: str | None = None


class Paged(Protocol):
    """The parameters of a listing."""

    limit: int
    cursor: str | None


async def items(
    connection: Connection, service: str, query: str, params: Any, kind: type[T], at_most: int | None = None
) -> AsyncIterator[T]:
    """Everything that a listing holds, up to `at_most`.

    `params.limit` is what one page asks for; a page that is too large for a message is asked for in smaller parts.

    Raises:
        RefusedError: the service said no.
        NotReachable: it did not answer.
    """
    asked: Paged = msgspec.structs.replace(params)
    left = at_most
    while left is None or left > 0:
        asked.limit = asked.limit if left is None else min(asked.limit, left)
        try:
            page = await connection.read(service, query, asked, PageOf[kind])  # type: ignore[valid-type]
        except RefusedError as error:
            if error.status != TOO_LARGE or asked.limit == 1:
                raise
            asked.limit = max(1, asked.limit // 4)
            continue
        for item in page.items[:left]:
            yield item
        if page.cursor is None:
            return
        asked.cursor = page.cursor
        left = None if left is None else left - len(page.items)
