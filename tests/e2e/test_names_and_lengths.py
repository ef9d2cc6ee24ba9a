"""Names that could be taken for something else, and lengths that a container claims for other streams."""

import json
from pathlib import Path

import av
import pytest

from engine.errors import OutputError
from tests.e2e.runs import clip, fake_engine, statuses


def test_a_video_named_partial_keeps_its_results(tmp_path: Path) -> None:
    """An interrupted `a.mp4` leaves `a.partial.*`, which its next run takes away: those names are never a video's."""
    clip(tmp_path / "in" / "a.mp4", 12)
    clip(tmp_path / "in" / "a.partial.mp4", 3)
    summary = fake_engine(visualize=True).run([tmp_path / "in"], tmp_path / "out")
    assert summary["success"]
    for video in summary["videos"]:
        assert all(Path(path).exists() for path in video["outputs"].values())


@pytest.mark.parametrize("named", [["a.mp4"], ["a.mp4", "a.partial.mp4"]])
def test_a_video_named_partial_beside_its_namesake_stays(tmp_path: Path, named: list[str]) -> None:
    """Results beside their source: `a.partial.mp4` there is no leaving of an interrupted `a.mp4`."""
    clip(tmp_path / "a.mp4", 12)
    clip(tmp_path / "a.partial.mp4", 3)
    (tmp_path / "a.partial.mot.txt").write_text("1,1,0.00,0.00,1.00,1.00,1.0000,-1,-1,-1\n")
    summary = fake_engine(visualize=False).run([tmp_path / name for name in named], tmp_path)
    assert summary["success"]
    assert (tmp_path / "a.partial.mp4").stat().st_size > 0
    assert not (tmp_path / "a.partial.mot.txt").exists()


def test_what_would_be_taken_away_is_no_source(tmp_path: Path) -> None:
    clip(tmp_path / "in" / "a.mp4", 12)
    other = clip(tmp_path / "out" / "a.partial.mp4", 3)
    with pytest.raises(OutputError, match="is an input and would be overwritten"):
        fake_engine(visualize=False).run([tmp_path / "in", other], tmp_path / "out")
    assert other.exists()


@pytest.mark.parametrize("name", ["cam:1.mp4", "pipe:1.mp4", "http:x.mp4"])
def test_a_colon_is_no_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip(tmp_path / "in" / "plain.mp4", 4).rename(tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path)
    summary = fake_engine(visualize=True).run(["in"], "a:b")
    assert statuses(summary) == {name: "ok"}


def test_sound_longer_than_the_picture(tmp_path: Path) -> None:
    """Matroska's duration is that of its longest stream: the video is whole all the same."""
    path = tmp_path / "long.mkv"
    picture = clip(tmp_path / "picture.mp4", 25)
    with av.open(str(picture)) as source, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(source.streams.video[0])
        audio = output.add_stream("aac", rate=8000, layout="mono")
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                output.mux(packet)
        for index in range(80):
            sound = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            sound.planes[0].update(bytes(4096))
            sound.sample_rate, sound.pts = 8000, 1024 * index
            output.mux(audio.encode(sound))
        output.mux(audio.encode(None))
    summary = fake_engine().run([path], tmp_path / "out")
    assert (summary["videos"][0]["status"], summary["videos"][0]["frames"]) == ("ok", 25)


def test_a_stopped_engine_hashes_the_inputs_of_its_next_run(tmp_path: Path) -> None:
    clip(tmp_path / "in" / "a.mp4", 12)
    engine = fake_engine()
    engine.run([tmp_path / "in"], tmp_path / "out", progress=lambda _: engine.stop())
    engine.run([tmp_path / "in"], tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["videos"][0]["input"]["sha256"]
