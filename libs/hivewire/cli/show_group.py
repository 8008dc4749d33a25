"""Groups that list or show when no subcommand is named: `hivewire dead`, `hivewire dead ID`, `hivewire dead replay ID`."""

from typing import Any

from typer.core import TyperGroup

HELP = frozenset({"-h", "--help"})
SHOW = "show"


class ShowGroup(TyperGroup):
    """Takes what is no subcommand for arguments of `show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the hidden subcommand in front, where none is given."""
        if not args or (args[0] not in self.commands and args[0] not in HELP):
            args = [SHOW, *args]
        return super().parse_args(ctx, args)
