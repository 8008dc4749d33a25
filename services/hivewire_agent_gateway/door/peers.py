"""What the agent of a bridge asks, answers and tells its peers, and hears of them."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from hivewire import codec, inbox, limits
from hivewire.asking import Receipts
from hivewire.commands import conversation as commands
from hivewire.errors import HivewireError, RefusedError
from hivewire.ids import new_id
from hivewire.inbox import Held
from hivewire.subjects import CONVERSATION
from hivewire.views import ConversationView
from hivewire_agent_gateway.door import frames
from hivewire_agent_gateway.door.calls import decoded
from hivewire_agent_gateway.door.place import Place

REMEMBERED_MAX: Final = 1_000
"""Questions, answers and messages that the agent was sent: a repeat is only received again."""
UNAVAILABLE: Final = 503

Heard = inbox.QuestionAsked | inbox.QuestionEnded | inbox.MessageReceived
FRAMES: Final[Mapping[type[Heard], type[Heard]]] = {
    inbox.QuestionAsked: frames.Question,
    inbox.QuestionEnded: frames.Answered,
    inbox.MessageReceived: frames.Told,
}


class Peers:
    """The agent's part in conversations.

    Args:
        place: the door's means.
        agent_id: the agent.
        send: puts a frame for the agent in line, and calls back when it was written.
        held: the dispatches that the agent works on, by message id.
    """

    def __init__(
        self,
        place: Place,
        agent_id: str,
        send: Callable[[bytes, Callable[[], None] | None], None],
        held: Mapping[str, Held | None],
    ) -> None:
        self._place = place
        self._agent_id = agent_id
        self._send = send
        self._held = held
        self._receipts = Receipts(lambda received: place.line.post_as(agent_id, CONVERSATION, "receive", received))
        self._sent: OrderedDict[str, None] = OrderedDict()

    def close(self) -> None:
        """Send the last receipts."""
        self._receipts.close()

    def hear(self, heard: Heard) -> None:
        """Pass on what the inbox brought. It counts as received when it was written to the connection."""
        key = heard.message_id if isinstance(heard, inbox.MessageReceived) else heard.conversation_id
        name = f"{type(heard).__name__} {key}"
        if name in self._sent:
            self._receipts.add(key)
            return
        self._sent[name] = None
        while len(self._sent) > REMEMBERED_MAX:
            self._sent.popitem(last=False)
        frame = FRAMES[type(heard)](**msgspec.structs.asdict(heard))
        self._send(codec.encode(frame), lambda: self._receipts.add(key))

    async def say(self, frame: frames.ToPeer) -> None:
        """Do what the agent asks for. A refusal is told to it."""
        try:
            match frame:
                case frames.Ask():
                    await self._ask(frame)
                case frames.Answer():
                    await self._command("answer", commands.Answer, frame)
                case frames.Withdraw():
                    await self._command("withdraw", commands.Withdraw, frame)
                case frames.Message():
                    await self._command("message", commands.SendMessage, frame, id=frame.message_id or new_id())
        except HivewireError as error:
            status = error.status if isinstance(error, RefusedError) else UNAVAILABLE
            name = frame.message_id if isinstance(frame, frames.Message) else frame.conversation_id
            self._send(codec.encode(frames.Error(name or "", status, str(error))), None)

    async def _ask(self, frame: frames.Ask) -> None:
        held = self._held.get(frame.message_id) if frame.message_id else None
        waits = {"task_id": held.task_id, "attempt": held.attempt} if held else {}
        body = await self._command("ask", commands.Ask, frame, id=frame.conversation_id or new_id(), **waits)
        view = decoded(bytes(body), ConversationView)
        self._send(codec.encode(frames.Asked(view.conversation_id, view.thread, view.agent_id)), None)

    async def _command(self, verb: str, kind: type[msgspec.Struct], frame: frames.ToPeer, **more: Any) -> msgspec.Raw:
        """The command that a frame stands for, with the fields that both have."""
        fields = {name: getattr(frame, name) for name in kind.__struct_fields__ if hasattr(frame, name)}
        data = decoded(
            codec.encode({name: value for name, value in (fields | more).items() if value is not None}), kind
        )
        line, patience_s = self._place.line, limits.REQUEST_TIMEOUT_S
        return await line.command_as(self._agent_id, CONVERSATION, verb, data, msgspec.Raw, timeout_s=patience_s)
