"""`yolo-engine models`: list, info, pull."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred


@click.group()
def models() -> None:
    """List, inspect and download models."""


@models.command("list")
@deferred("models:list_all")
def list_() -> None:
    """List the named models, and whether each is on this machine."""


@models.command()
@click.argument("model", metavar="NAME|PATH")
@deferred("models:info")
def info() -> None:
    """Show a model's properties: input, layout, classes, hash, source."""


@models.command()
@click.argument("name")
@click.option("--sha256", help="Required hash, for a model without a published one.")
@click.option("--accept-unverified", is_flag=True, help="Accept a file without a published hash, and record its hash.")
@deferred("models:pull")
def pull() -> None:
    """Download a model, verify its hash and keep it in the cache.

    Without a network, put the file in a folder and name that folder in YOLO_ENGINE_MODELS.
    """
