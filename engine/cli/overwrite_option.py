"""The option of every command that writes into an output folder."""

from __future__ import annotations

import click

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that this program has not written, too.  [an error]"
)
