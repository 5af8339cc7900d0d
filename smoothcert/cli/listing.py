"""Help that ends with the names there are, looked up when help is asked for."""

from collections.abc import Iterable
from importlib.util import find_spec
from textwrap import fill
from typing import Any

from typer.core import TyperCommand


class WithDataSets(TyperCommand):
    """A command that takes a data set."""

    def get_help(self, ctx: Any) -> str:
        """The usual help, then what is registered, unless the `training` extra isn't here."""
        listed = self.listed() if find_spec("training") else []
        return "\n\n".join([super().get_help(ctx), *listed])

    def listed(self) -> list[str]:
        """One paragraph a registry."""
        from training.sources import SOURCES

        return [_paragraph("Data sets", [*SOURCES, "folder:PATH"])]


class WithMethods(WithDataSets):
    """A command that takes a training method too."""

    def listed(self) -> list[str]:
        from training.methods import METHODS

        return [_paragraph("Methods", METHODS), *super().listed()]


def _paragraph(title: str, names: Iterable[str]) -> str:
    return fill(f"{title}: {', '.join(names)}.", width=78, break_on_hyphens=False)
