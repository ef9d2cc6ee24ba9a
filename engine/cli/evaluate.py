"""`yolo-engine eval`: its options."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.paths import PATH


@click.command("eval", short_help="Score tracks against ground truth: HOTA, MOTA, IDF1.")
@click.argument("tracks", metavar="TRACKS", type=PATH)
@click.argument("truth", metavar="GT", type=PATH)
@click.option("--sweep", "ranges", multiple=True, metavar="KEY=A,B,...", help="Try these values; may be repeated.")
@click.option("--plain", is_flag=True, help="Every row of GT counts: no distractor classes, as of MOT17.")
@click.option("--json", "as_json", is_flag=True, help="The scores as one JSON line on standard output.")
@deferred("evaluate:evaluate")
def evaluate() -> None:
    """Score tracks against ground truth in MOTChallenge's form: HOTA, MOTA and IDF1.

    TRACKS is a NAME.mot.txt, or a folder of them; GT a gt.txt, or a folder with NAME/gt/gt.txt, NAME/gt.txt or
    NAME.txt. With --sweep TRACKS holds stored detections (`run --store-conf`), and every combination of the values is
    tried, as in --sweep tracker=sort,bytetrack --sweep max_age=10,30. Needs the extra "eval".
    """
