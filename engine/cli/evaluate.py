"""`yolo-engine eval`: its options."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.paths import PATH


@click.command("eval", short_help="Score tracks against ground truth: HOTA, MOTA, IDF1.")
@click.argument("tracks", metavar="TRACKS", type=PATH)
@click.argument("truth", metavar="GT", type=PATH)
@click.option("--sweep", "ranges", multiple=True, metavar="KEY=A,B,...", help="Values to try for a key; repeatable.")
@click.option("--plain", is_flag=True, help="Count every row of GT: no distractor classes as in MOT17.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON line on standard output.")
@deferred("evaluate:evaluate")
def evaluate() -> None:
    """Score tracks against ground truth in MOTChallenge format: HOTA, MOTA and IDF1.

    TRACKS is a NAME.mot.txt or a folder of them; GT is a gt.txt or a folder with NAME/gt/gt.txt, NAME/gt.txt or
    NAME.txt. With --sweep, TRACKS contains stored detections (`run --store-conf`), and every combination of values is
    tried, for example --sweep tracker=sort,bytetrack --sweep max_age=10,30. Needs the extra "eval".
    """
