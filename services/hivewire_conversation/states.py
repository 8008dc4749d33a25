"""The lives of questions and messages: which event may happen in which state, and what state follows.

An event without an entry is refused and changes nothing. The diagrams in the docs are drawn from these tables.
"""

from collections.abc import Mapping
from typing import Final

from hivewire.views import ConversationState, MessageState

ConversationTable = Mapping[ConversationState | None, Mapping[str, ConversationState]]
MessageTable = Mapping[MessageState | None, Mapping[str, MessageState]]

_OPEN: Final[dict[str, ConversationState]] = {
    "conversation.delivered": "delivered",
    "conversation.answered": "answered",
    "conversation.expired": "expired",
    "conversation.withdrawn": "withdrawn",
    "conversation.undeliverable": "undeliverable",
}

CONVERSATION: Final[ConversationTable] = {
    None: {"conversation.created": "asked"},
    "asked": _OPEN,
    "delivered": _OPEN,
    "answered": {"conversation.received": "answered"},
    "expired": {"conversation.received": "expired"},
    "withdrawn": {},
    "undeliverable": {"conversation.received": "undeliverable"},
}

MESSAGE: Final[MessageTable] = {
    None: {"message.sent": "sent"},
    "sent": {"message.delivered": "delivered", "message.undeliverable": "undeliverable"},
    "delivered": {},
    "undeliverable": {},
}

OPEN: Final[frozenset[str]] = frozenset({"asked", "delivered"})
"""The states in which a question can be answered."""


class IllegalTransition(Exception):
    """An event does not fit the state that it found. No service writes such an event."""


def next_state(state: ConversationState | None, event_type: str) -> ConversationState:
    """The state of a conversation after an event.

    Raises:
        IllegalTransition: the event cannot happen in this state.
    """
    try:
        return CONVERSATION[state][event_type]
    except KeyError:
        raise IllegalTransition(f"{event_type} cannot happen to a question that is {state or 'not there'}") from None


def next_message_state(state: MessageState | None, event_type: str) -> MessageState:
    """The state of a message after an event.

    Raises:
        IllegalTransition: the event cannot happen in this state.
    """
    try:
        return MESSAGE[state][event_type]
    except KeyError:
        raise IllegalTransition(f"{event_type} cannot happen to a message that is {state or 'not there'}") from None
