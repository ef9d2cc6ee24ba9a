"""A transport stream that lost packets on its way: it is told, for frames are missing."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.runs import clip, fake_engine

_PACKET = 188


def test_lost_packets_are_told(tmp_path: Path) -> None:
    video = clip(tmp_path / "whole.ts", 60, codec="libx264", options={"preset": "ultrafast", "g": "10"})
    content = video.read_bytes()
    packets = [content[at : at + _PACKET] for at in range(0, len(content), _PACKET)]
    for number in (len(packets) // 3, len(packets) // 2):
        del packets[number]
    (tmp_path / "lossy.ts").write_bytes(b"".join(packets))
    with fake_engine() as engine:
        found = {Path(video["path"]).stem: video for video in engine.run([tmp_path], tmp_path / "out")["videos"]}
    assert found["whole"]["frames"] == 60
    assert not any("hole" in note for note in found["whole"].get("notes", []))
    assert found["lossy"]["frames"] < 60
    assert any("data was lost on its way" in note for note in found["lossy"]["notes"])
