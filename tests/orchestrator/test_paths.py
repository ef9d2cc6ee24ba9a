"""What a job may read and write: roots, links, and files that are none."""

import os
import socket

import pytest
from pydantic import ValidationError

from orchestrator.errors import PathRefused
from orchestrator.job import paths
from orchestrator.job.paths import (
    broker_is_local,
    confined_video,
    home_of,
    input_is_away,
    output_folder,
    trusted_model,
    video_folder,
)
from orchestrator.settings import Settings

REMOTE = "redis://broker.example:6379/0"


@pytest.fixture
def tree(tmp_path):
    for name in ("root/videos/deep", "outside", "out"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("root/videos/a.mp4", "outside/b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "root/videos/within.mp4").symlink_to("a.mp4")
    (tmp_path / "root/videos/escape.mp4").symlink_to(tmp_path / "outside/b.mp4")
    (tmp_path / "root/videos/nowhere.mp4").symlink_to("gone.mp4")
    (tmp_path / "root/videos/loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "root/videos/zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "root/videos/door").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "root/videos/fifo.mp4")
    return tmp_path


def settings_of(tree, broker=REMOTE, roots=("root",), outputs=("out",)) -> Settings:
    return Settings(
        broker_url=broker,
        video_roots=tuple(tree / root for root in roots),
        output_roots=tuple(tree / root for root in outputs),
        state_dir=tree / "state",
    )


@pytest.mark.parametrize(
    ("url", "roots", "refused"),
    [
        ("s3://cams/a.mp4", ("s3://cams",), ""),
        ("s3://cams/a/b.mp4", ("/videos", "s3://cams/a"), ""),
        ("s3://cams/b.mp4", ("s3://cams/a",), "is not below YOLO_VIDEO_ROOTS"),
        ("s3://other/b.mp4", ("s3://cams",), "is not below YOLO_VIDEO_ROOTS"),
        ("s3://cams/b.mp4", ("/videos",), "export YOLO_VIDEO_ROOTS=/videos:s3://cams"),
        ("s3://cams/b.mp4", (), "YOLO_VIDEO_ROOTS is not set"),
    ],
)
def test_objects_are_below_roots_that_are_urls(tmp_path, url, roots, refused):
    settings = Settings(broker_url=REMOTE, video_roots=roots, state_dir=tmp_path)
    if refused:
        for check in (video_folder, confined_video, input_is_away):
            with pytest.raises(PathRefused, match=refused):
                check(url, settings)
    else:
        assert str(video_folder(url, settings)) == url.replace("//", "/")  # as Path has it
        assert confined_video(url, settings) == url
        assert input_is_away(url, settings) is None


@pytest.mark.parametrize(
    ("roots", "refused"),
    [
        ((), "export YOLO_OUTPUT_ROOTS=/srv/jobs:s3://results"),
        (("s3://results",), "names none. Add one: export YOLO_OUTPUT_ROOTS=/srv/jobs:s3://results"),
        (("/srv/jobs", "s3://results/other"), "is not below YOLO_OUTPUT_ROOTS"),
        (("/srv/jobs",), "export YOLO_OUTPUT_ROOTS=/srv/jobs:s3://results"),
    ],
)
def test_a_job_writes_to_objects_below_its_roots_alone(tmp_path, roots, refused):
    with pytest.raises(PathRefused) as caught:
        home_of("s3://results/out", Settings(broker_url=REMOTE, state_dir=tmp_path, output_roots=roots))
    assert refused in str(caught.value)


def test_a_job_that_writes_to_objects_has_a_folder_for_each_place(tmp_path):
    settings = Settings(broker_url=REMOTE, state_dir=tmp_path, output_roots=("s3://results", tmp_path / "jobs"))
    folder = home_of("s3://results/out", settings)
    assert folder.parent == tmp_path / "jobs" / ".yolo-stored"
    assert folder == home_of("s3:/results/out/", settings) != home_of("s3://results/out2", settings)
    assert home_of("s3://results/out", Settings(state_dir=tmp_path)).parent == tmp_path / "stored"


def test_a_job_that_writes_to_objects_may_keep_its_directory_there(tmp_path):
    settings = Settings(broker_url=REMOTE, output_roots=("s3://results",), jobs_dir="s3://results/jobs")
    home = home_of("s3://results/out", settings)
    assert str(home.parent) == "s3://results/jobs"
    assert home == home_of("s3:/results/out/", settings) != home_of("s3://results/out2", settings)
    assert home_of(str(tmp_path), Settings(jobs_dir="s3://results/jobs")) == tmp_path
    elsewhere = settings.model_copy(update={"jobs_dir": "s3://other/jobs"})
    with pytest.raises(PathRefused, match="s3://other/jobs is not below YOLO_OUTPUT_ROOTS"):
        home_of("s3://results/out", elsewhere)


@pytest.mark.parametrize("url", ["/srv/jobs", "s3:/jobs", "https://host/jobs", "s3://"])
def test_directories_of_jobs_in_storage_are_below_a_url(url):
    with pytest.raises(ValidationError):
        Settings(jobs_dir=url)


BAD_TEXTS = [
    ("", "must be a path"),
    (None, "must be a path"),
    (7, "must be a path"),
    (["a"], "must be a path"),
    ("a\0b", "NUL"),
    ("x" * 5000, "at most 4096 bytes"),
    ("é" * 3000, "at most 4096 bytes"),
    ("\ud800", "half a character"),
]


@pytest.mark.parametrize("check", [video_folder, output_folder, confined_video])
@pytest.mark.parametrize(("given", "rule"), BAD_TEXTS)
def test_texts_that_are_no_path(tree, check, given, rule):
    with pytest.raises(PathRefused, match=rule):
        check(given, settings_of(tree))


@pytest.mark.parametrize("check", [video_folder, output_folder])
def test_a_name_that_is_too_long_for_a_folder(tree, check):
    with pytest.raises(PathRefused, match="too long"):
        check(str(tree / "root" / ("x" * 300)), settings_of(tree))


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("root", None),
        ("root/videos", None),
        ("root/videos/../videos", None),
        ("root/videos/a.mp4", None),
        ("root/videos/within.mp4", None),
        ("root/videos/../../outside", "not below YOLO_VIDEO_ROOTS"),
        ("root/videos/escape.mp4", "not below YOLO_VIDEO_ROOTS"),
        ("root/videos/door", "not below YOLO_VIDEO_ROOTS"),
        ("rooted", "can't be read: no such file"),
        ("outside", "not below YOLO_VIDEO_ROOTS"),
        ("root/videos/nowhere.mp4", "no such file"),
        ("root/videos/loop.mp4", "symbolic links"),
        ("root/videos/zero.mp4", "a character device"),
        ("root/videos/fifo.mp4", "a FIFO"),
        ("root/videos/a.mp4/b", "not a directory"),
    ],
)
def test_folders_to_read(tree, name, refused):
    given = str(tree / name)
    if refused is None:
        assert video_folder(given, settings_of(tree)) == (tree / name).resolve()
        return
    with pytest.raises(PathRefused, match=refused):
        video_folder(given, settings_of(tree))


def test_a_root_s_name_is_not_a_prefix(tree):
    (tree / "rooted").mkdir()
    with pytest.raises(PathRefused, match="not below"):
        video_folder(str(tree / "rooted"), settings_of(tree))


def test_a_folder_without_permission(tree, monkeypatch):
    monkeypatch.setattr(paths.os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(PathRefused, match=r"permission denied. Try `chmod"):
        video_folder(str(tree / "root"), settings_of(tree))


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("out", None),
        ("out/not/yet/there", None),
        ("out/../root", "not below YOLO_OUTPUT_ROOTS"),
        ("root/videos/a.mp4", "is not a folder"),
        ("root/videos/a.mp4/sub", "not a directory"),
        ("root/videos/fifo.mp4", "is not a folder"),
        ("root/videos/door", "not below"),
        ("root/videos/loop.mp4", "symbolic links"),
    ],
)
def test_folders_to_write(tree, name, refused):
    given = str(tree / name)
    if refused is None:
        assert output_folder(given, settings_of(tree)) == (tree / name).resolve()
        return
    with pytest.raises(PathRefused, match=refused):
        output_folder(given, settings_of(tree))


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("a.mp4", None),
        ("within.mp4", None),
        ("escape.mp4", "not below"),
        ("gone.mp4", "no such file or directory"),
        ("loop.mp4", "symbolic links"),
        ("zero.mp4", "not a file, but a character device"),
        ("fifo.mp4", "not a file, but a FIFO"),
        ("deep", "not a file, but a folder"),
    ],
)
def test_videos_about_to_be_opened(tree, name, refused):
    given = str(tree / "root/videos" / name)
    if refused is None:
        assert confined_video(given, settings_of(tree)) == given
        return
    with pytest.raises(PathRefused, match=refused):
        confined_video(given, settings_of(tree))


@pytest.mark.parametrize(
    ("model", "broker", "refused"),
    [
        ("a.plan", REMOTE, True),  # code
        ("a.plan", "redis://localhost:6379/0", False),  # a job can do no more than its user
        ("a.onnx", REMOTE, False),  # data
        ("yolox-nano", REMOTE, False),
    ],
)
def test_models_that_hold_code(tree, model, broker, refused):
    if not refused:
        trusted_model(model, settings_of(tree, broker))
        return
    with pytest.raises(PathRefused, match=r"a\.plan is a TensorRT plan, which contains code, .* name its model"):
        trusted_model(model, settings_of(tree, broker))


def test_a_socket(tree):
    path = tree / "root" / "s.mp4"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        with pytest.raises(PathRefused, match="a socket"):
            confined_video(str(path), settings_of(tree))


@pytest.mark.parametrize("check", [video_folder, output_folder])
def test_without_roots_a_broker_that_others_reach_allows_nothing(tree, check):
    local, remote = (settings_of(tree, url, (), ()) for url in ("redis://localhost:6379/0", REMOTE))
    assert check(str(tree / "outside"), local) == tree / "outside"
    with pytest.raises(PathRefused, match="is not set, and the broker is reached over the network"):
        check(str(tree / "outside"), remote)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("redis://localhost:6379/0", True),
        ("redis://LOCALHOST/0", True),
        ("redis://:secret@127.0.0.1:6379/0", True),
        ("rediss://[::1]:6379/0", True),
        ("redis:///0", True),
        ("redis+socket:///run/b.sock?virtual_host=0", True),
        ("unix:///run/b.sock", True),
        ("redis://10.0.0.1/0", False),
        ("redis://localhost@evil.example/0", False),
        ("redis://localhost.evil.example/0", False),
        ("redis://127.0.0.1.evil.example/0", False),
        ("redis://localhost/0;redis://evil.example/0", False),
        ("sentinel://localhost:26379", False),
        ("evil.example:6379", False),
        ("redis://[::1/0", False),
        ("", False),
    ],
)
def test_which_brokers_are_local(url, local):
    assert broker_is_local(url) is local
