"""The program that a server was started from by way of the library, as its workers see it.

What the program could import, a worker must be able to import too, so it gets the program's
``sys.path``.  What stands in the main script itself is found as ``multiprocessing`` finds it: the
script is run once more, under the name ``__mp_main__``, so that what is guarded by
``if __name__ == "__main__":`` is left out.  Only where an app is looked for in it; unlike there,
functions and module share one namespace (``runpy`` copies it).
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING

from balancer.errors import AppError

if TYPE_CHECKING:
    from balancer.core.messages import Program

__all__ = ["MAIN", "adopt", "import_main"]

MAIN = "__main__"
ALIAS = "__mp_main__"


def adopt(program: Program | None) -> None:
    """Import from where the program does, and have its arguments."""
    if program is not None:
        sys.path[:] = program.path
        sys.argv[:] = program.argv


def import_main(program: Program) -> ModuleType:
    """The program's main module, run under its other name.

    Raises:
        AppError: there is no file to run.
        BaseException: what the script raises.
    """
    found = sys.modules.get(ALIAS)
    # multiprocessing calls every process's own main module so
    if found is not None and found.__name__ == ALIAS:
        return found
    spec = _find(program)
    loader = spec.loader
    assert isinstance(loader, SourceFileLoader)
    code = loader.get_code(spec.name)
    assert code is not None
    module = ModuleType(ALIAS)
    module.__dict__.update(
        __file__=spec.origin, __package__=spec.parent, __spec__=spec, __loader__=loader
    )
    before = sys.modules[MAIN]
    sys.modules[MAIN] = sys.modules[ALIAS] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        sys.modules[MAIN] = sys.modules[ALIAS] = before
        raise
    return module


def _find(program: Program) -> ModuleSpec:
    spec = None
    if program.module is not None:
        spec = importlib.util.find_spec(program.module)
    elif program.script is not None:
        loader = SourceFileLoader(ALIAS, program.script)
        spec = importlib.util.spec_from_file_location(ALIAS, program.script, loader=loader)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise AppError("the program has no script that a worker could run")
    return spec
