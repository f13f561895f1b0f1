"""click options from the settings table.

Every spelling is an option of its own that only writes down what was said, in the order in which
it was said: then the last spelling wins whatever it is called, and an error names the one that the
user typed.  Nothing is parsed here; ``settings.load`` does that for all sources.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import click

from balancer.cli.foreign import FOREIGN, without_words
from balancer.settings.load import flag_given
from balancer.settings.table import SETTINGS, UPSTREAM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from balancer.settings.origin import Given
    from balancer.settings.table import Alias, Setting

__all__ = ["CONFIG", "SettingsCommand", "given_flags"]

CONFIG = click.option(
    "-c",
    "--config",
    "file",
    metavar="FILE",
    help="Read settings from FILE.toml, or with hooks from FILE.py or python:MODULE.",
)

_KEY = "balancer.flags"
_OF_AN_UPSTREAM = {
    f"--{option}": f"it is said of each upstream, behind a comma: HOST:PORT,{option}{value}"
    for option, value in (("weight", "=2"), ("max", "=10"), ("backup", ""))
}


def given_flags(context: click.Context) -> list[Given]:
    """What the command line said about settings, in its order."""
    given: list[Given] = context.meta.setdefault(_KEY, [])
    return given


class SettingsCommand(click.Command):
    """A command that takes the settings that it wants, and explains them by group."""

    def __init__(
        self, *args: object, takes: Callable[[Setting], bool], **attributes: object
    ) -> None:
        super().__init__(*args, **attributes)  # type: ignore[arg-type]  # click's to check
        self._settings = [setting for setting in SETTINGS.values() if takes(setting)]
        for setting in self._settings:
            self.params += _params(setting)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, but flags that others have are explained."""
        try:
            return super().parse_args(ctx, without_words(args))
        except click.NoSuchOption as error:
            name = error.option_name
            why = FOREIGN.get(name) or self._of_the_other(name)
            if why is None:
                raise
            raise click.UsageError(f"{name}: no such option; {why}", ctx) from None

    def _of_the_other(self, flag: str) -> str | None:
        """What to say of a setting that this command doesn't take."""
        for setting in SETTINGS.values():
            if flag in {alias.flag for alias in setting.spellings}:
                return f"balancer {'proxy' if setting.group == UPSTREAM else 'serve'} has it"
        return _OF_AN_UPSTREAM.get(flag)

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the settings by group, then the command's own options."""
        for group, settings in groupby(self._settings, lambda setting: setting.group):
            with formatter.section(group):
                formatter.write_dl([(_usage(one), _explain(one)) for one in settings])
        own = [
            record
            for param in self.get_params(context)
            if not isinstance(param, _Flag | click.Argument)
            if (record := param.get_help_record(context)) is not None
        ]
        with formatter.section("Other options"):
            formatter.write_dl(own)


class _Flag(click.Option):
    """One spelling of one setting."""


def _params(setting: Setting) -> Iterable[click.Parameter]:
    if setting.positional:
        return [_argument(setting)]
    return [_flag(setting, spelling) for spelling in setting.spellings]


def _argument(setting: Setting) -> click.Argument:
    def note(
        context: click.Context, _param: click.Parameter, value: str | tuple[str, ...] | None
    ) -> None:
        for text in (value,) if isinstance(value, str) else value or ():
            given_flags(context).append(flag_given(setting.name, setting.flag, text, text))

    many = setting.kind.many
    return click.Argument(
        [setting.name], required=False, nargs=-1 if many else 1, expose_value=False, callback=note,
        metavar=f"[{setting.flag}]{'...' if many else ''}",
    )  # fmt: skip


def _flag(setting: Setting, spelling: Alias) -> click.Option:
    # a name of its own, or click would merge the spellings
    name = "given_" + spelling.flag.strip("-").replace("-", "_")

    def note_switch(context: click.Context, _param: click.Parameter, on: bool) -> None:
        if on:
            given_flags(context).append(flag_given(setting.name, spelling.flag, "", spelling.text))

    def note(context: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> None:
        for value in values:
            text = spelling.text.replace("{}", value)
            given_flags(context).append(flag_given(setting.name, spelling.flag, value, text))

    if not spelling.metavar:
        return _Flag([spelling.flag, name], is_flag=True, expose_value=False, callback=note_switch)
    return _Flag(
        [spelling.flag, name], metavar=spelling.metavar, multiple=True, type=str,
        expose_value=False, callback=note,
    )  # fmt: skip


def _usage(setting: Setting) -> str:
    if setting.positional:
        return setting.flag
    own = [flag for flag in (setting.short, setting.flag) if flag]
    return f"{', '.join(own)} {setting.kind.metavar}".rstrip()


def _explain(setting: Setting) -> str:
    aliases = ", ".join(alias.flag for alias in setting.aliases)
    notes = [
        f"default: {setting.default}" if setting.default else "",
        f"also {aliases}" if aliases else "",
        f"env: {', '.join(setting.variables)}",
    ]
    return f"{setting.help}  [{'; '.join(note for note in notes if note)}]"
