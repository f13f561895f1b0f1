"""Apps that need asyncio, under an engine that is trio: seen coming, and explained."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from traceback import extract_tb

from balancer.apps.tracebacks import own_frames

__all__ = ["SENTENCE", "asyncio_only_modules", "needs_asyncio", "says_asyncio", "use_uvicorn"]

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
ASYNCIO = Path(sysconfig.get_path("stdlib")) / "asyncio"
SENTENCE = (
    "the app needs asyncio, and this engine is trio: run it with --engine uvicorn "
    "(pip install balancer[uvicorn])"
)


def says_asyncio(text: str) -> bool:
    """Whether a text is what asyncio says where no loop of its own runs."""
    return any(sign in text for sign in SIGNS)


def needs_asyncio(error: BaseException) -> bool:
    """Whether an exception, or one behind it, is what asyncio code raises on trio."""
    return _find_sign(error) is not None


def _find_sign(error: BaseException) -> BaseException | None:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, RuntimeError | TypeError) and says_asyncio(str(each)):
            return each
        if isinstance(each, AttributeError) and _is_no_loop(each):
            return each
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions
        todo += [each.__cause__, each.__context__]
    return None


def _is_no_loop(error: AttributeError) -> bool:
    """asyncio's queues and locks ask for their loop and get None."""
    frames = extract_tb(error.__traceback__)
    return error.obj is None and bool(frames) and Path(frames[-1].filename).parent == ASYNCIO


def use_uvicorn(error: BaseException) -> str:
    """What to do about it, in one sentence, and which line of the app it was."""
    sign = _find_sign(error) or error
    own = [each for each in own_frames(sign) if Path(each.filename).parent != ASYNCIO]
    where = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    return f"{SENTENCE} [{type(sign).__name__}: {sign}{where}]"


def asyncio_only_modules() -> list[str]:
    """Which of those libraries are imported."""
    return sorted(MODULES & sys.modules.keys())
