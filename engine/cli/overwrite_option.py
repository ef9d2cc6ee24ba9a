"""The option `--overwrite` of every command that writes into an output folder."""

from __future__ import annotations

import click

overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Also replace files that yolo-engine did not write.  [an error]"
)
