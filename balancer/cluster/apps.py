"""From an app as an object to a name that a worker can import: ``module:attr``.

A worker is another process, and finds the app by importing its module; so what can't be found that
way is refused here, with the reason.  An instance doesn't know its name: it is looked for in the
module that makes the call, and in the one that defines its class.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, final

from balancer.core.messages import Program
from balancer.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Server", "name_of", "this_program"]


@final
@dataclass(frozen=True, slots=True, kw_only=False)
class Server:
    """One of several servers of a cluster: an app, and where it listens.

    Attributes:
        app: An import string or an object, as for ``run``.
        bind: An address, or several.
        interface: As the setting of that name.
        factory: As the setting of that name.
        root_path: As the setting of that name.
        exclusive: Only one worker at a time gets its connections: the one that has been ready
            longest; when that leaves, the next.
    """

    app: object
    bind: str | Sequence[str]
    interface: str = "auto"
    factory: bool = False
    root_path: str = ""
    exclusive: bool = False


def name_of(app: object, caller: str | None, what: str = "app") -> str:
    """The import string of an app; ``caller`` is the name of the module that made the call.

    ``what`` an error calls it, if it is something else.

    Raises:
        UsageError: no worker could find it.
    """
    if isinstance(app, str):
        return app
    for module in _where_to_look(app, caller):
        for attr in _names(app, module):
            return f"{module.__name__}:{attr}"
    instead = ", or give its import string" if what == "app" else ""
    raise UsageError(
        f"{what} {_show(app)}: workers import it, so it has to be an attribute of a module; "
        f"assign it to a name at the top level{instead}"
    )


def _where_to_look(app: object, caller: str | None) -> Iterator[ModuleType]:
    for name in (getattr(app, "__module__", None), caller):
        module = sys.modules.get(name) if isinstance(name, str) else None
        if isinstance(module, ModuleType):
            yield module


def _names(app: object, module: ModuleType) -> Iterator[str]:
    qualname = getattr(app, "__qualname__", None)
    if isinstance(qualname, str) and _resolve(module, qualname) is app:
        yield qualname
    yield from (name for name, value in vars(module).items() if value is app)


def _resolve(module: ModuleType, qualname: str) -> object:
    found: object = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def _show(app: object) -> str:
    name = getattr(app, "__qualname__", None)
    return str(name) if isinstance(name, str) else f"of type {type(app).__qualname__}"


def this_program(wanted: Sequence[str]) -> Program:
    """What a worker needs to import what this program can.

    ``wanted`` is what it will have to import: ``app x:y``.

    Raises:
        UsageError: some of it is in the main module, and that is no file.
    """
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    module = spec.name if spec is not None else None
    script = os.path.abspath(file) if file is not None else None
    in_main = [each for each in wanted if "__main__:" in each]
    if in_main and module is None and script is None:
        raise UsageError(
            f"{in_main[0]}: an interactive session is no file that workers could import; "
            "put it into one"
        )
    return Program(
        path=tuple(os.path.abspath(each) for each in sys.path),
        argv=tuple(sys.argv),
        module=module,
        script=script,
    )
