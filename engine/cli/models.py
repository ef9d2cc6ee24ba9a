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
    """List the models known by name, and whether each is on this machine."""


@models.command()
@click.argument("model", metavar="NAME|PATH")
@deferred("models:info")
def info() -> None:
    """Show what is known of a model: input, layout, classes, hash, source."""


@models.command()
@click.argument("name")
@click.option("--sha256", help="Keep the file only with this hash; for a model whose hash is not published.")
@click.option("--accept-unverified", is_flag=True, help="Keep a file whose hash nobody published, and record it.")
@deferred("models:pull")
def pull() -> None:
    """Download a model, verify its hash and keep it in the cache.

    Without a network: put the file into a folder and name that folder in YOLO_ENGINE_MODELS.
    """
