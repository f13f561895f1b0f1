"""Apps that need asyncio, under an engine that is trio: seen coming, and explained."""

from __future__ import annotations

import sys

__all__ = ["asyncio_only_modules", "needs_asyncio", "use_uvicorn"]

MODULES = frozenset({
    "aiobotocore", "aiocache", "aiohttp", "aiokafka", "aiomysql", "aiopg", "aioredis", "aiosqlite",
    "arq", "asyncpg", "beanie", "channels", "databases", "django.core.handlers.asgi",
    "elasticsearch._async", "faststream", "motor", "nats", "piccolo", "prisma", "redis.asyncio",
    "sqlalchemy.ext.asyncio", "starlite", "tortoise", "uvloop",
})  # fmt: skip
"""Libraries that run on asyncio only; a module of this name in memory means that the app uses it.
Not ``asyncio`` itself, which many import for a name or a type."""

# what asyncio says where no loop of its own runs, and what trio says to one of its futures
SIGNS = ("no running event loop", "no current event loop", "some other framework like asyncio")
SENTENCE = (
    "the app needs asyncio, and this engine is trio: run it with --engine uvicorn "
    "(pip install balancer[uvicorn])"
)


def needs_asyncio(error: BaseException) -> bool:
    """Whether an exception, or one behind it, is what asyncio code raises on trio."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, RuntimeError | TypeError) and any(sign in str(each) for sign in SIGNS):
            return True
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
        todo += [each.__cause__, each.__context__]
    return False


def use_uvicorn(error: BaseException) -> str:
    """What to do about it, in one sentence."""
    return f"{SENTENCE} [{type(error).__name__}: {error}]"


def asyncio_only_modules() -> list[str]:
    """Which of those libraries are imported."""
    return sorted(MODULES & sys.modules.keys())
