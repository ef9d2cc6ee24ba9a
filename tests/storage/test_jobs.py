"""A job over objects: its workers and their engine processes read by URL."""

import json
import subprocess
import sys

from tests.assets import ROOT
from tests.e2e.runs import clip

CONFIG = '{"backend": "fake", "visualize": false, "min_hits": 1}'


def test_workers_read_objects(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "job.json").write_text(CONFIG)
    for number, name in enumerate("ab"):
        path = clip(tmp_path / f"{name}.mp4", 12, seed=number)
        bucket.put(f"cam/{name}.mp4", path.read_bytes())
    submit = [
        sys.executable,
        "-m",
        "orchestrator.client.submit_cli",
        "--embedded",
        "--video-folder",
        f"{bucket.url}/cam",
    ]
    done = subprocess.run(
        [*submit, "--output", str(tmp_path / "out"), "--config", str(tmp_path / "job.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert [video["path"] for video in manifest["videos"]] == [f"{bucket.url}/cam/a.mp4", f"{bucket.url}/cam/b.mp4"]
    assert all("etag" in video["input"] for video in manifest["videos"])
    assert "S3cretOfTheTest" not in done.stdout + done.stderr
    assert not any("S3cretOfTheTest" in file.read_text() for file in (tmp_path / "out").rglob("*.json"))
