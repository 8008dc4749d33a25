"""The fleet of `hivewire up --demo`: a small newsroom that always has something to do, for a hive to be looked at.

Articles are researched, written, then reviewed. Writers ask the archive, reviewers now and then fail a text, and one
task asks for an interpreter, whom the newsroom does not have.
"""

import asyncio
import contextlib
import itertools
import random
import signal

from hivewire.agent import Agent
from hivewire.answering import Question
from hivewire.client import Client
from hivewire.errors import HivewireError
from hivewire.task import Task, TaskContext, ThreadContext

ARTICLES_OPEN_MAX = 6
ARTICLE_EVERY_S = 2.0
ASKED_S_MAX = 20.0
REVIEWS_THAT_FAIL = 0.15
QUESTIONS_PER_TEXT = 0.3
LUCK = random.Random()  # noqa: S311  # the newsroom's: no secret depends on it
SUBJECTS = ("bees", "harbours", "fog", "orchards", "trams", "comets", "salt", "bridges", "moss", "clocks")


def fleet() -> list[Agent]:
    """Five agents with different capabilities, and handlers that take about as long as they say."""
    archive = Agent("archive", can=["research"], slots=3, grace_s=0)
    writers = [
        Agent(name, can=["write", more], grace_s=0) for name, more in (("ada", "research"), ("basil", "translate"))
    ]
    reviewers = [Agent(name, can=["review"], slots=slots, grace_s=0) for name, slots in (("cleo", 2), ("dora", 1))]
    archive.task(_research)
    for writer in writers:
        writer.task(_write)
    for reviewer in reviewers:
        reviewer.task(_review)
    archive.question(_look_up)
    return [archive, *writers, *reviewers]


async def _work(context: TaskContext, steps: tuple[str, ...]) -> None:
    for done, step in enumerate(steps):
        await context.progress(done / len(steps), step)
        await asyncio.sleep(LUCK.uniform(0.2, 1.2))  # the work that a real agent would do here


async def _research(task: Task, context: TaskContext) -> dict[str, object]:
    await _work(context, ("searching", "reading"))
    return {"notes": f"three facts about {task.payload['about']}"}


async def _write(task: Task, context: TaskContext) -> dict[str, object]:
    await _work(context, ("outline", "draft"))
    if LUCK.random() < QUESTIONS_PER_TEXT:
        await context.ask("agent:archive", f"How old are {task.payload['about']}?", timeout_s=ASKED_S_MAX)
    await _work(context, ("polish",))
    return {"words": LUCK.randint(300, 900)}


async def _review(task: Task, context: TaskContext) -> dict[str, object]:
    await _work(context, ("reading",))
    if LUCK.random() < REVIEWS_THAT_FAIL:
        raise ValueError(f"the text about {task.payload['about']} is not clear yet")
    return {"verdict": "print it"}


async def _look_up(question: Question, _: ThreadContext) -> str:
    return f"{question.text} Older than the newspaper."


async def _article(hive: Client, number: int) -> None:
    """One article from its first note to its review."""
    about = SUBJECTS[number % len(SUBJECTS)]
    payload = {"about": about}
    notes = await hive.submit(f"Research {about}", needs=["research"], payload=payload)
    text = await hive.submit(f"Write about {about}", needs=["write"], payload=payload, depends_on=[notes])
    review = await hive.submit(f"Review the text about {about}", needs=["review"], payload=payload, depends_on=[text])
    with contextlib.suppress(HivewireError):  # an article that fails for good is an article less
        await review.result()


async def keep_busy() -> None:
    """Run the fleet and give it work, until cancelled."""
    agents = fleet()
    async with Client.connect() as hive:
        try:
            await asyncio.gather(*(agent.start() for agent in agents))
            await _publish_articles(hive)
        finally:
            await asyncio.gather(*(agent.stop() for agent in agents))


async def _publish_articles(hive: Client) -> None:
    await hive.submit("Interpret a visitor", needs=["interpret"], key="visitor")
    room = asyncio.Semaphore(ARTICLES_OPEN_MAX)
    async with asyncio.TaskGroup() as articles:
        for number in itertools.count():
            await room.acquire()
            articles.create_task(_article(hive, number)).add_done_callback(lambda _: room.release())
            await asyncio.sleep(ARTICLE_EVERY_S)  # the newsroom's pace


async def main() -> None:
    """Keep the fleet busy until SIGTERM, then let it leave."""
    busy = asyncio.create_task(keep_busy())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, busy.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await busy


if __name__ == "__main__":
    asyncio.run(main())
