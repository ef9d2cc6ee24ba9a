"""Batches: order, shapes, who is not inferred, and that nobody is held up."""

import time
from types import SimpleNamespace

import pytest

from engine.pipeline.batch import Batcher
from engine.pipeline.channel import Closed, Handoff
from tests.engine.conftest import make_end, make_frame
from tests.engine.test_handoff import Aside

A, B = SimpleNamespace(hw=(32, 64)), SimpleNamespace(hw=(64, 32))


def batcher(size, *records, wait_s=0.02, closed=True):
    frames = Handoff("frames", 100)
    for record in records:
        frames.put(record)
    if closed:
        frames.close()
    return Batcher(frames, size, lambda image: image.hw, wait_s), frames


def taken(stage):
    """All batches until the queue is closed, as (shape, indices)."""
    batches = []
    while True:
        try:
            batch = stage.take()
        except Closed:
            return batches
        batches.append((batch.tensor_hw, [frame.index for frame in batch.frames]))


def frames(images, **keys):
    return [make_frame(index, image=image, **keys) for index, image in enumerate(images)]


@pytest.mark.parametrize(
    ("size", "images", "batches"),
    [
        (1, [A, A], [(A.hw, [0]), (A.hw, [1])]),
        (2, [A, A, A, A], [(A.hw, [0, 1]), (A.hw, [2, 3])]),
        (2, [A, A, A], [(A.hw, [0, 1]), (A.hw, [2])]),  # the last one goes without company
        (4, [A], [(A.hw, [0])]),
        (2, [A, B, A, B], [(A.hw, [0, 2]), (B.hw, [1, 3])]),  # shapes never mix
        (3, [A, B, B, B, A], [(B.hw, [1, 2, 3]), (A.hw, [0, 4])]),  # a full batch leaves before an older one
        (9, [B, A, B], [(B.hw, [0, 2]), (A.hw, [1])]),  # at the end, the oldest shape first
        (4, [], []),
    ],
)
def test_batches(size, images, batches):
    stage, _ = batcher(size, *frames(images))
    assert taken(stage) == batches


def test_streams_share_a_batch():
    stage, _ = batcher(2, make_frame(0, 0, image=A), make_frame(0, 1, image=A))
    assert [frame.stream for frame in stage.take().frames] == [0, 1]


def test_skipped_frames_and_ends_go_by():
    skipped, end = make_frame(1, infer=False, image=A), make_end(2)
    stage, _ = batcher(2, make_frame(0, image=A), skipped, end, make_frame(0, 1, image=A))
    assert stage.take() is skipped
    assert stage.take() is end
    assert [frame.stream for frame in stage.take().frames] == [0, 1]
    with pytest.raises(Closed):
        stage.take()


def test_a_batch_that_is_not_full_leaves_after_a_while():
    stage, queue = batcher(8, make_frame(0, image=A), wait_s=0.05, closed=False)
    start = time.monotonic()
    assert [frame.index for frame in stage.take().frames] == [0]
    assert 0.04 < time.monotonic() - start < 2
    waiting = Aside(stage.take)  # nothing is there: it waits without end
    assert waiting.waits
    assert waiting.waits
    queue.close()
    assert isinstance(waiting.end(), Closed)


def test_several_workers_take_each_frame_once():
    stage, _ = batcher(3, *frames([A, B] * 30))
    workers = [Aside(taken, stage) for _ in range(4)]
    indices = [index for worker in workers for _, batch in worker.end() for index in batch]
    assert sorted(indices) == list(range(60))
