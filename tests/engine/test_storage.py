"""What object storage rests on, without a server: blocks, URLs, and what is loaded."""

import subprocess
import sys
import threading

import pytest

from engine.errors import StorageError
from engine.storage.blocks import Blocks
from engine.storage.urls import Place, is_below, is_object, path_of, place_of, store_of
from engine.text.masks import without_password
from tests.assets import ROOT
from tests.waiting import until

DATA = bytes(range(250)) * 4


class Server:
    """Gives parts of DATA and notes which; what is in `fails` fails once."""

    def __init__(self):
        self.asked = []
        self.fails = set()

    def fetch(self, start, end):
        self.asked.append(start)
        if start in self.fails:
            self.fails.remove(start)
            raise StorageError("fails once")
        return DATA[start:end]


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def blocks(server):
    made = Blocks(server.fetch, len(DATA), block=100, kept=4, ahead=2)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("start", "count"),
    [(0, 10), (95, 10), (0, 1000), (950, 100), (999, 1), (1000, 1), (5000, 1), (0, 0), (250, 500)],
)
def test_any_part_is_what_it_is(blocks, start, count):
    assert blocks.read(start, count) == DATA[start : start + count]


def test_the_first_block_may_be_known(server):
    blocks = Blocks(server.fetch, len(DATA), first=DATA[:100], block=100, kept=4, ahead=2)
    assert blocks.read(0, 100) == DATA[:100]
    assert server.asked == []
    blocks.close()


def test_a_jump_fetches_no_more_than_it_needs(blocks, server):
    blocks.read(0, 10)
    blocks.read(990, 10)
    blocks.read(500, 10)
    assert server.asked == [0, 900, 500]


def test_reading_on_fetches_each_block_once_and_ahead(blocks, server):
    for start in range(0, 1000, 50):
        assert blocks.read(start, 50) == DATA[start : start + 50]
    assert sorted(server.asked) == list(range(0, 1000, 100))


def test_the_next_blocks_are_on_their_way_before_they_are_asked_for(blocks, server):
    blocks.read(0, 10)
    assert server.asked == [0]
    blocks.read(100, 10)
    until(lambda: sorted(server.asked) == [0, 100, 200, 300])


def test_few_blocks_are_kept(blocks, server):
    for start in range(0, 1000, 100):
        blocks.read(start, 100)
    blocks.read(0, 10)
    assert server.asked.count(0) == 2


def test_what_failed_is_asked_for_again(blocks, server):
    server.fails = {300}
    with pytest.raises(StorageError):
        blocks.read(300, 10)
    assert blocks.read(300, 10) == DATA[300:310]


def test_many_may_read(blocks):
    wrong = []

    def read(first):
        for start in range(first, 1000, 70):
            if blocks.read(start, 70) != DATA[start : start + 70]:
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(first,)) for first in range(0, 60, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_one_is_not_read(blocks):
    blocks.close()
    with pytest.raises(ValueError, match="closed"):
        blocks.read(0, 1)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket/a/b.mp4", Place("s3", "bucket", "a/b.mp4")),
        ("S3://bucket/a b#?.mp4", Place("s3", "bucket", "a b#?.mp4")),
        ("gs://bucket", Place("gs", "bucket", "")),
        ("az://container/x/", Place("az", "container", "x/")),
        ("s3:/bucket/a.mp4", Place("s3", "bucket", "a.mp4")),  # as Path has it
        ("s3:///a.mp4", None),
        ("s3a/b.mp4", None),
        ("https://host/a.mp4", None),
        ("rtsp://host/a", None),
        ("/s3://bucket/a", None),
    ],
)
def test_urls_of_objects(url, place):
    assert place_of(url) == place
    assert is_object(url) is (place is not None)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("file:///a/b.mp4", "/a/b.mp4"),
        ("file://localhost/a%20b.mp4", "/a b.mp4"),
        ("file://other/a.mp4", "file://other/a.mp4"),
        ("file:a", "file:a"),
        ("a%20b", "a%20b"),
    ],
)
def test_urls_of_files(given, path):
    assert path_of(given) == path


@pytest.mark.parametrize(
    ("root", "below"),
    [("s3://b", True), ("s3://b/a", True), ("s3://b/a/", True), ("s3://b/a/x.mp4", True), ("s3://b/aa", False),
     ("gs://b/a", False), ("s3://c", False), ("/a", False)],
)  # fmt: skip
def test_below_a_prefix(root, below):
    assert is_below(Place("s3", "b", "a/x.mp4"), root) is below


def test_masks_leave_keys_alone():
    assert without_password("s3://bucket/a@b.mp4") == "s3://bucket/a@b.mp4"
    assert without_password("s3://key:secret@bucket/a.mp4") == "s3://***@bucket/a.mp4"


def test_a_run_over_files_loads_none_of_it():
    code = (
        "import sys, engine.cli.main, engine.engine; from engine.media.inputs import find_videos;"
        "print(sorted(name for name in sys.modules if name.startswith(('obstore', 'engine.storage'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "['engine.storage', 'engine.storage.urls']"


def test_without_the_extra_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "engine.storage.stores", None)
    with pytest.raises(StorageError, match=r"not installed: pip install .*\[storage\]"):
        store_of(Place("s3", "b", ""))
