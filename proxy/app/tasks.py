"""The one place of this package that makes tasks.

Rule: a task is referenced until it ends and its failure is logged, never lost and never fatal to
the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

__all__ = ["Tasks", "until"]

_log = structlog.get_logger("vestibule.tasks")


class Tasks:
    """Background tasks of one owner."""

    def __init__(self) -> None:
        self._running: dict[asyncio.Task[None], Callable[[asyncio.Task[None]], None] | None] = {}

    def start(
        self,
        work: Coroutine[Any, Any, None],
        name: str,
        ended: Callable[[asyncio.Task[None]], None] | None = None,
    ) -> asyncio.Task[None]:
        """Run `work` in the background; `ended` is told of its task at the end."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running[task] = ended
        task.add_done_callback(self._ended)
        return task

    def __len__(self) -> int:
        """Those that have not ended."""
        return len(self._running)

    async def cancel(self) -> None:
        """Cancel everything and wait until it has ended."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        ended = self._running.pop(task, None)
        if ended is not None:
            ended(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task_failed", task=task.get_name(), exc_info=error)


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work` to its end, or until `stop` is set: then cancel it, wait for it, return False."""
    loop = asyncio.get_running_loop()
    task, stopped = loop.create_task(work), loop.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.wait({task, stopped})
    if task.cancelled():
        return False
    task.result()
    return True
