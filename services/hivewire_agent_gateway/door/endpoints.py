"""HTTP agents: dispatches posted to their endpoints, by the door that the core chose."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from hivewire import codec, inbox, limits
from hivewire.errors import HivewireError, RefusedError
from hivewire.inbox import DoorBeat, HaltSession, SessionDispatch
from hivewire.subjects import AGENT_GATEWAY
from hivewire_agent_gateway import metrics
from hivewire_agent_gateway.aftermath import envelope_of
from hivewire_agent_gateway.door import frames
from hivewire_agent_gateway.door.answers import Answers
from hivewire_agent_gateway.door.place import Place
from hivewire_agent_gateway.outbound import Unreachable
from hivewire_agent_gateway.secrets import signing_secret
from hivewire_service.store import CONNECTION_ERRORS

log = structlog.get_logger()

CANCEL_S = 5.0


class Endpoints:
    """The posts of a door."""

    def __init__(self, place: Place, answers: Answers, door_id: str) -> None:
        self._place = place
        self._answers = answers
        self._door_id = door_id
        self._posts: dict[str, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Post what the core gives us, as long as the context lasts. What is left then goes to another door."""
        subjects, line = self._place.subjects, self._place.line
        listening = [
            await line.listen(subjects.door(self._door_id, inbox.DISPATCH), self._hear),
            await line.listen(subjects.door("all", inbox.HALT), self._hear),
        ]
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()
            for one in listening:
                await one.stop()
            for task in list(self._posts.values()):
                task.cancel()
            await self._say_beat(leaving=True)

    async def _beat(self) -> None:
        while True:
            await self._say_beat()
            await asyncio.sleep(limits.DOOR_BEAT_S)

    async def _say_beat(self, *, leaving: bool = False) -> None:
        subjects = self._place.subjects
        beat = DoorBeat(self._door_id, list(self._posts), leaving)
        body = envelope_of("door.beat", f"/{subjects.hive}/{AGENT_GATEWAY}", beat)
        await self._place.line.say(subjects.door(self._door_id, "beat"), body)

    def _hear(self, _subject: str, body: bytes) -> None:
        envelope = codec.decode_envelope(body)
        message = envelope if isinstance(envelope, codec.Malformed) else codec.decode_data(envelope, inbox.KINDS)
        match message:
            case SessionDispatch(message_id=message_id) if message_id not in self._posts:
                self._posts[message_id] = self._answers.run(self._serve(message))
                metrics.POSTS.set(len(self._posts))
            case HaltSession():
                task = self._posts.get(message.message_id)
                if task is not None:
                    task.cancel()

    async def _serve(self, given: SessionDispatch) -> None:
        try:
            await self._post(given)
        except RefusedError as error:
            log.info("an answer was refused", message=given.message_id, reason=str(error))
        except HivewireError as error:
            log.warning("an answer was not passed on", message=given.message_id, error=str(error))
        finally:
            del self._posts[given.message_id]
            metrics.POSTS.set(len(self._posts))

    async def _post(self, given: SessionDispatch) -> None:
        """POST a dispatch and pass the answer on, whatever it is."""
        agent_id, message_id = given.agent_id, given.message_id
        path = f"/api/v1/sessions/{given.session_id}/response?attempt={given.attempt}"
        body = codec.encode(
            frames.Dispatch(
                message_id, agent_id, given.content, given.context, given.session_id, self._place.public_url + path
            )
        )
        try:
            secret = await signing_secret(self._place.pool, f"agent/{agent_id}")
            status, answered = await self._place.outbound.post(
                given.endpoint_url or "", body, secret, message_id, given.timeout_seconds
            )
        except CONNECTION_ERRORS as error:
            log.warning("not posted, the core gives it out again", message=message_id, error=str(error))
            return
        except HivewireError as error:
            unreachable = isinstance(error, Unreachable)
            await self._answers.respond(agent_id, message_id, error=str(error), unreachable=unreachable)
            return
        if status == 202:
            await self._answers.progress(agent_id, message_id, "accepted")
            return
        posted = codec.decode_as(answered, frames.Posted, "the answer") if status == 200 else None
        if isinstance(posted, frames.Posted):
            response = posted.response
            await self._answers.respond(agent_id, message_id, response.content, response.usage, response.error)
        else:
            reason = posted.reason if posted else f"it answered {status}"
            await self._answers.respond(agent_id, message_id, error=f"the agent's endpoint failed: {reason}")
