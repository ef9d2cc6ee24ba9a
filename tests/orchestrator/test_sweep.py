"""The watched folder: complete videos become a job, once each, whatever happens in between."""

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from orchestrator.errors import JobError, PathRefused, RequestError
from orchestrator.job.atomic_json import write_json
from orchestrator.job.jobdir import JOBS_FOLDER, Job
from orchestrator.settings import Settings, Watch
from orchestrator.worker import steps as jobs
from orchestrator.worker import sweep as module
from orchestrator.worker.sweep import sweep
from tests.e2e.runs import clip
from tests.orchestrator import handmade as made


class Place:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder / "state")
        self.source, self.output = folder / "in", folder / "out"
        self.source.mkdir()
        self.watch = Watch(folder=self.source, output=self.output, quiet_s=60, config={"backend": "fake"})

    def put(self, name: str, content: bytes = b"x", age_s: float = 1000.0) -> Path:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    def sweep(self) -> list[str] | None:
        """Names of what was swept; None where there was nothing to do. The job is ended at once."""
        job, told = sweep(self.watch, self.settings)
        if job is None:
            assert told["new"] == 0
            return None
        assert told == {"swept": str(self.source), "new": len(job.spec.only), "job": job.id}
        made.end(job, self.settings)
        return [os.path.relpath(path, self.source) for path in job.spec.only]


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def test_new_and_complete_videos_once_each(place):
    assert place.sweep() is None
    place.put("b.mp4")
    place.put("a.MKV")
    place.put("sub/deep/c.mov")
    assert place.sweep() == ["a.MKV", "b.mp4", "sub/deep/c.mov"]
    assert place.sweep() is None
    place.put("d.mp4")
    assert place.sweep() == ["d.mp4"]
    assert place.sweep() is None


def test_its_results_may_go_to_storage(place):
    place.watch = place.watch.model_copy(update={"output": Path("s3://lab/out")})
    place.put("a.mp4")
    job, _ = sweep(place.watch, place.settings)
    assert (job.spec.stored, job.output.parent) == ("s3://lab/out", place.settings.state_dir / "stored")


@pytest.mark.parametrize(
    ("name", "content", "age_s", "why"),
    [
        ("a.mp4", b"x", 30, "changed lately"),
        ("a.mp4", b"", 1000, "empty: somebody has only begun"),
        ("a.txt", b"x", 1000, "no video"),
        (".a.mp4", b"x", 1000, "hidden: a copy under way"),
        (".trash/a.mp4", b"x", 1000, "in a hidden folder"),
        ("a.mp4.part", b"x", 1000, "a download"),
        ("a.mp4", b"x", -1000, "of the future"),
    ],
)
def test_what_is_not_taken(place, name, content, age_s, why):
    place.put(name, content, age_s)
    assert place.sweep() is None


def test_a_growing_file_is_taken_when_it_is_complete(place):
    for size in range(1, 4):
        place.put("a.mp4", b"x" * size, age_s=5)
        assert place.sweep() is None
    place.put("a.mp4", b"xxx", age_s=100)
    assert place.sweep() == ["a.mp4"]
    place.put("a.mp4", b"xxx and more", age_s=90)
    assert place.sweep() == ["a.mp4"], "written anew: done anew"


def test_a_renamed_file_is_another_one(place):
    path = place.put("a.mp4")
    assert place.sweep() == ["a.mp4"]
    path.rename(place.source / "b.mp4")
    assert place.sweep() == ["b.mp4"]
    assert place.sweep() is None


def test_a_file_under_two_names_is_done_once(place):
    path = place.put("b.mp4")
    (place.source / "a.mp4").symlink_to(path)
    assert place.sweep() == ["a.mp4"]
    (place.source / "c.mp4").symlink_to(path)
    assert place.sweep() is None
    (place.source / "a.mp4").unlink()
    assert place.sweep() == ["b.mp4"], "its first name now"


def test_things_that_are_no_file(place, tmp_path):
    os.mkfifo(place.source / "fifo.mp4")
    (place.source / "folder.mp4").mkdir()
    (place.source / "zero.mp4").symlink_to("/dev/zero")
    (place.source / "gone.mp4").symlink_to("gone")
    (place.source / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.mp4").write_bytes(b"x")
    (place.source / "door").symlink_to(tmp_path / "elsewhere")
    assert place.sweep() is None


def test_results_are_not_swept(tmp_path, place):
    place.watch = place.watch.model_copy(update={"output": place.source / "out"})
    place.put("a.mp4")
    place.put("out/a.mp4")
    assert place.sweep() == ["a.mp4"]


def test_sub_folders_are_mirrored(place):
    clip(place.source / "cam1" / "day" / "a.mp4")
    clip(place.source / "cam2" / "a.mp4", seed=1)
    place.watch = place.watch.model_copy(update={"quiet_s": 0})
    job, _ = sweep(place.watch, place.settings)
    record = jobs.start(job, jobs.Context("w@here", place.settings))
    assert [video.stem for video in record.videos] == ["cam1/day/a", "cam2/a"]


def test_one_job_at_a_time(place):
    place.put("a.mp4")
    first, _ = sweep(place.watch, place.settings)
    place.put("b.mp4")
    second, told = sweep(place.watch, place.settings)
    assert second is None
    assert told["why"] == f"job {first.id} of an earlier sweep is under way"
    made.end(first, place.settings)
    assert place.sweep() == ["b.mp4"]


def test_other_jobs_in_the_folder_are_no_matter(tmp_path, place):
    made.make_job(tmp_path, place.settings)
    place.put("a.mp4")
    assert place.sweep() == ["a.mp4"]


def test_two_sweeps_at_once(place, monkeypatch):
    for number in range(5):
        place.put(f"{number}.mp4")
    inside, go_on = threading.Event(), threading.Event()
    real = jobs.begin

    def slow(*arguments, **options):
        inside.set()
        go_on.wait(10)
        return real(*arguments, **options)

    monkeypatch.setattr(jobs, "begin", slow)
    found = []
    thread = threading.Thread(target=lambda: found.append(sweep(place.watch, place.settings)))
    thread.start()
    inside.wait(10)
    job, told = sweep(place.watch, place.settings)
    assert job is None
    assert told["why"] == "another sweep is at it"
    go_on.set()
    thread.join()
    assert found[0][1]["new"] == 5


@pytest.mark.parametrize("when", ["before the job is there", "when the job is there"])
def test_a_sweep_that_is_killed_loses_nothing_and_does_nothing_twice(place, monkeypatch, when):
    place.put("a.mp4")
    real = jobs.begin

    def killed(*arguments, **options):
        if when == "when the job is there":
            real(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "begin", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(place.watch, place.settings)
    if when == "when the job is there":
        assert sweep(place.watch, place.settings)[1]["why"].endswith("is under way")
        left = next((place.output / JOBS_FOLDER).glob("*/job.json"))
        made.end(Job.open(left.parent), place.settings)
        assert place.sweep() is None
    else:
        assert place.sweep() == ["a.mp4"]
    place.put("b.mp4")
    assert place.sweep() == ["b.mp4"]


def test_a_full_disk_loses_nothing(place, monkeypatch):
    place.put("a.mp4")
    with monkeypatch.context() as full:
        full.setattr(module, "write_json", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            sweep(place.watch, place.settings)
    assert place.sweep() == ["a.mp4"]


@pytest.mark.parametrize("name", ["swept.json", "last-sweep.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"new": 1}'])
def test_a_damaged_ledger_is_told(place, name, content):
    place.put("a.mp4")
    place.sweep()
    (place.output / JOBS_FOLDER / name).write_bytes(content)
    if (name, content) == ("swept.json", b'{"new": 1}'):
        return
    place.put("b.mp4")
    with pytest.raises(JobError, match=f"{name} is damaged. Remove it"):
        sweep(place.watch, place.settings)
    (place.output / JOBS_FOLDER / name).unlink()
    assert "b.mp4" in place.sweep()


def test_what_can_not_be_swept(tmp_path, place):
    place.put("a.mp4")
    outside = place.settings.model_copy(update={"video_roots": (tmp_path / "other",)})
    with pytest.raises(PathRefused):
        sweep(place.watch, outside)
    wrong = place.watch.model_copy(update={"config": {"nonsense": 1}})
    with pytest.raises(RequestError, match="nonsense"):
        sweep(wrong, place.settings)
    assert place.sweep() == ["a.mp4"], "nothing was written down for it"
    shutil.rmtree(place.source)
    with pytest.raises(PathRefused):
        sweep(place.watch, place.settings)


def test_the_ledger_is_small(place):
    for number in range(3):
        place.put(f"{number}.mp4")
        place.sweep()
    write_json(place.output / JOBS_FOLDER / "x.json", {})
    kept = json.loads((place.output / JOBS_FOLDER / "swept.json").read_text())
    assert sorted(kept) == [str(place.source / f"{number}.mp4") for number in range(2)]


def test_what_a_folder_is_not_searched_for(place, tmp_path):
    """As a run by hand: recycle bins, previews, links in circles, annotated videos of an earlier run."""
    place.put("a.mp4")
    place.put("#recycle/gone.mp4")
    place.put("GX01.LRV")
    place.put("done/b.mp4")
    manifest = {"config": {"output_folder": "done"}, "videos": [{"path": "x", "outputs": {"video": "done/b.mp4"}}]}
    (place.source / "done" / "manifest.json").write_text(json.dumps(manifest))
    (place.source / "loop").symlink_to(place.source)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy2(place.put("c.mp4", b"c"), tmp_path / "elsewhere" / "d.mp4")
    (tmp_path / "elsewhere" / "d.mp4").write_bytes(b"d")
    os.utime(tmp_path / "elsewhere" / "d.mp4", (0, 0))
    (place.source / "linked").symlink_to(tmp_path / "elsewhere")
    assert place.sweep() == ["a.mp4", "c.mp4", "linked/d.mp4"]


def test_a_link_out_of_the_roots_is_not_followed(place, tmp_path):
    place.settings = place.settings.model_copy(update={"video_roots": (place.source,)})
    place.put("a.mp4")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy2(place.source / "a.mp4", tmp_path / "elsewhere" / "d.mp4")
    (place.source / "linked").symlink_to(tmp_path / "elsewhere")
    assert place.sweep() == ["a.mp4"]
