"""A user's program on a thread, and the SL's end of its pipes beside it."""

import asyncio


async def beside(sl, program, play=None):
    """Run both to their ends.

    Gives what the SL was asked for at the opening, what ``play`` (default: answer until the
    program closes) returned, and what the program did.
    """

    async def other_end():
        terms = await sl.open()
        return terms, await (sl.play() if play is None else play())

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(asyncio.to_thread(program))
        played = tasks.create_task(other_end())
    return *played.result(), running.result()
