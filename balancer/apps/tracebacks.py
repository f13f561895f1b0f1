"""Tracebacks for the person who wrote the app: without the frames that are ours."""

from __future__ import annotations

import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["describe", "own_frames", "where"]

PACKAGE = f"{Path(__file__).resolve().parents[1]}/"


def describe(what: str, error: BaseException) -> str:
    """One sentence, and below it the part of the traceback that is the app's."""
    sentence = f"{what}: {type(error).__name__}: {error}"
    frames = own_frames(error)
    if frames:
        sentence += "\n" + "".join(traceback.format_list(frames)).rstrip()
    if isinstance(error, SyntaxError):  # whose last frame is the import's: the line is in the error
        sentence += "\n" + "".join(traceback.format_exception_only(error)).rstrip()
    # a file's name may hold bytes that are no text, and this travels as text
    return sentence.encode("utf-8", "backslashreplace").decode()


def where(frame: FrameType) -> str:
    """What a thread is doing, as the part of its stack that is the app's."""
    frames = [
        each
        for each in traceback.extract_stack(frame)
        if not each.filename.startswith(PACKAGE) and each.filename != threading.__file__
    ]
    return "".join(traceback.format_list(frames)).rstrip()


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of the app and its libraries."""
    return [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(PACKAGE) and "importlib" not in frame.filename
    ]
