"""Background tasks, and work that is cut short."""

from __future__ import annotations

import asyncio

import pytest
import structlog.testing

from proxy.app.tasks import Tasks, until


async def test_a_failure_is_logged_and_costs_nobody_else() -> None:
    tasks = Tasks()
    ended = asyncio.Event()

    async def fail() -> None:
        raise ValueError("no")

    async def wait() -> None:
        await ended.wait()

    with structlog.testing.capture_logs() as logs:
        failing, waiting = tasks.start(fail(), "failing"), tasks.start(wait(), "waiting")
        await asyncio.wait({failing})
        await asyncio.sleep(0)
    assert [(line["event"], line["task"]) for line in logs] == [("task_failed", "failing")]
    assert not waiting.done()
    assert len(tasks) == 1
    await tasks.cancel()
    assert waiting.cancelled()


async def test_whoever_asked_is_told_of_the_end_once() -> None:
    tasks = Tasks()
    told: list[asyncio.Task[None]] = []

    async def work() -> None:
        return

    task = tasks.start(work(), "work", told.append)
    await task
    await asyncio.sleep(0)
    assert told == [task]
    await tasks.cancel()
    assert told == [task]


async def test_work_that_ends_first() -> None:
    async def work() -> None:
        return

    assert await until(asyncio.Event(), work())


async def test_work_that_fails() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await until(asyncio.Event(), work())


async def test_work_that_is_stopped_has_cleaned_up() -> None:
    stop, cleaned = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            stop.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    assert not await until(stop, work())
    assert cleaned.is_set()


async def test_being_cancelled_cancels_the_work() -> None:
    cleaned = asyncio.Event()
    begun = asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    task = asyncio.ensure_future(until(asyncio.Event(), work()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()
