"""What the events of the service add up to, with the indexes that keep every step's cost flat."""

from collections import OrderedDict, defaultdict
from typing import Final

from hivewire.graph import Graph, GraphSpec
from hivewire_conversation.conversation import Attempt, Conversation, Message, Wait

ENDED_REMEMBERED_MAX: Final = 10_000
"""Ended questions kept in memory; older ones are read again when a command names them."""


class State:
    """Open questions, undelivered messages, waits, the graph, and what ended lately."""

    def __init__(self) -> None:
        self.conversations: dict[str, Conversation] = {}
        self.messages: dict[str, Message] = {}
        self.waits: dict[Attempt, Wait] = {}
        """Attempts that wait for at least one answer."""
        self.graph_spec: GraphSpec | None = None
        self.graph: Graph | None = None
        self.asked_by: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """By asker: its open questions."""
        self.ends_for: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """By asker: its questions of whose end it has to learn."""
        self.asked_of: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """By agent: the open questions to it."""
        self.messages_to: defaultdict[str, dict[str, None]] = defaultdict(dict)
        """By agent: the messages that it does not have yet."""
        self._ended: OrderedDict[str, None] = OrderedDict()

    def put(self, conversation: Conversation) -> None:
        """Know a conversation, new or from its row."""
        self.conversations[conversation.conversation_id] = conversation
        self.settle(conversation)

    def settle(self, conversation: Conversation) -> None:
        """Put a conversation where its state wants it."""
        key = conversation.conversation_id
        if conversation.open:
            self.asked_by[conversation.asker][key] = None
            self.asked_of[conversation.agent_id][key] = None
            return
        _drop(self.asked_by, conversation.asker, key)
        _drop(self.asked_of, conversation.agent_id, key)
        if conversation.tells_asker:
            self.ends_for[conversation.asker][key] = None
        else:
            self.forget_later(conversation)

    def forget_later(self, conversation: Conversation) -> None:
        """Nobody is told of it any more; it is remembered for a while, in case somebody names it."""
        _drop(self.ends_for, conversation.asker, conversation.conversation_id)
        self._ended[conversation.conversation_id] = None

    def put_message(self, message: Message) -> None:
        """Know a message that is on its way, or that it no longer is."""
        if message.state == "sent":
            self.messages[message.message_id] = message
            self.messages_to[message.agent_id][message.message_id] = None
        else:
            self.messages.pop(message.message_id, None)
            _drop(self.messages_to, message.agent_id, message.message_id)

    def set_graph(self, spec: GraphSpec | None) -> None:
        """From now on these are the rules."""
        self.graph_spec = spec
        self.graph = None if spec is None else Graph.of(spec)

    def remove(self, conversation_id: str) -> None:
        """An ended question is no more."""
        conversation = self.conversations.pop(conversation_id, None)
        if conversation is not None:
            _drop(self.ends_for, conversation.asker, conversation_id)
        self._ended.pop(conversation_id, None)

    def forget_old(self) -> None:
        """Drop the ended questions that are beyond what is remembered. Not during a turn: it writes their rows."""
        while len(self._ended) > ENDED_REMEMBERED_MAX:
            key, _ = self._ended.popitem(last=False)
            self.conversations.pop(key, None)


def _drop(index: defaultdict[str, dict[str, None]], owner: str, key: str) -> None:
    keys = index.get(owner)
    if keys is not None:
        keys.pop(key, None)
        if not keys:
            del index[owner]
