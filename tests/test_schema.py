"""docs/schema/ against what runs and jobs really write: no key without a description, none that is never there."""

import json
import zipfile
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from orchestrator.job import outcomes
from orchestrator.settings import Settings
from tests.assets import ROOT
from tests.e2e.runs import clip, fake_engine
from tests.orchestrator import handmade as made

SCHEMAS = {path.name: json.loads(path.read_text()) for path in (ROOT / "docs/schema").glob("*.json")}
REGISTRY = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in SCHEMAS.items())


def check(name: str, value: object) -> None:
    """Fails with the first thing that the schema does not know."""
    value = json.loads(json.dumps(value))
    found = sorted(Draft202012Validator(SCHEMAS[name], registry=REGISTRY).iter_errors(value), key=str)
    assert not found, f"{list(found[0].absolute_path)}: {found[0].message}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """A summary and its output folder: a video that is ok, one that is cut off, one that is none."""
    folder = tmp_path_factory.mktemp("schema")
    clip(folder / "videos" / "a.mp4", codec="libx264", frames=20)
    whole = clip(folder / "cut.mkv", codec="libx264", frames=200).read_bytes()
    (folder / "videos" / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (folder / "videos" / "none.mp4").write_bytes(b"nothing of the kind")
    formats = ("tracks", "mot", "detections")
    with fake_engine(stats=True, visualize=True, crops=True, formats=formats) as engine:
        return engine.run([str(folder / "videos")], output=str(folder / "out")), folder / "out"


def test_schemas_are_schemas():
    assert SCHEMAS.keys() == {"summary.json", "manifest.json", "tracks-row.json", "crops-row.json"}
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_the_summary_of_a_run(run):
    summary, _ = run
    assert {video["status"] for video in summary["videos"]} == {"ok", "partial", "failed"}
    assert summary["verdict"]
    check("summary.json", summary)


def test_the_manifest_of_a_run(run):
    manifest = json.loads((run[1] / "manifest.json").read_text())
    check("manifest.json", manifest)
    assert all("input" in video for video in manifest["videos"])


def test_crops(run):
    with zipfile.ZipFile(run[0]["videos"][0]["outputs"]["crops"]) as archive:
        lines = [json.loads(line) for line in archive.read("index.jsonl").splitlines()]
    assert lines
    for line in lines:
        check("crops-row.json", line)


def test_rows(run):
    for kind in ("tracks", "detections"):
        rows = (run[1] / f"a.{kind}.jsonl").read_text().splitlines()
        assert rows
        for row in map(json.loads, rows):
            check("tracks-row.json", row)
            assert ("track_id" in row) == (kind == "tracks")


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_job(tmp_path, cancelled):
    settings = Settings(state_dir=tmp_path / "state")
    job = made.make_job(tmp_path, settings)
    made.start(job, 4)
    made.finish(job, 0)
    made.finish(job, 1, "partial", "ends early")
    made.finish(job, 2, "failed", "not a video")
    if cancelled:
        job.cancel("test")
    made.end(job, settings)
    check("manifest.json", json.loads((job.output / "manifest.json").read_text()))
    check("summary.json", outcomes.summarise(job, "the folder is gone").to_json())


def test_a_job_that_never_began(tmp_path):
    settings = Settings(state_dir=tmp_path / "state")
    job = made.make_job(tmp_path, settings)
    job.cancel("test")
    made.end(job, settings)
    check("manifest.json", json.loads((job.output / "manifest.json").read_text()))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("summary.json", lambda value: value["videos"][0].update(color="red"), "'color' was unexpected"),
        ("summary.json", lambda value: value.pop("model"), "'model' is a required property"),
        ("summary.json", lambda value: value["videos"][0].update(status="fine"), "'fine' is not one of"),
        ("manifest.json", lambda value: None, "is a required property"),
    ],
)
def test_a_difference_is_found(run, name, change, said):
    value = json.loads(json.dumps(run[0]))
    change(value)
    with pytest.raises(AssertionError, match=said):
        check(name, value)
