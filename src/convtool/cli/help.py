"""Help pages as plain text, with the options under headings."""

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose help lists options by their panel.

    Typer itself shows panels only through rich, which costs a start of its own.
    """

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section for each panel, in the order in which the panels first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            kind = "Arguments" if parameter.param_type_name == "argument" else "Other options"
            panel = getattr(parameter, "rich_help_panel", None) or kind
            sections.setdefault(panel, []).append(record)
        sections["Other options"] = sections.pop("Other options", [])
        for panel, records in sections.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records)
