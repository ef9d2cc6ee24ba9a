"""The threads of a run: how they start, meet, fail and stop, and what belongs to one video on its way through.

`pipeline` is the one place where threads start, fail and stop. `stream` is one video and how it ended, `reader` its
source and decoder, `batch` joins frames of many streams, `channel` is the bounded queue between two threads,
`flow_control` bounds the frames of a stream in flight, `outputs` says where results go, `assignment` is a video that
comes from elsewhere, and `pieces` has what others have found in a long one. `sequence` is a file's place among those of
its camera, `order` has them done one after the other, `facts` is what the manifest says of images and times. `again`
reads a file's frames once more, after a run.

`recording` takes the place of a live source's sinks and puts new ones in at each segment's boundary: no sink knows of
segments. The end of a segment is written on a thread beside; the third that waits keeps the source waiting, which drops
frames and counts them. A segment is an attempt at a video of its own, committed and published like any other, which
replaces nothing; what a kill left of one becomes `.partial` files when the next run begins.

A failure in one video (source, decoder, its sinks) ends that video: the first error is kept, frames in flight are
thrown away, its EndOfStream still passes, the others never notice. A failure of inference, or a bug in any thread,
closes every channel and window, which wakes every thread; each video that is not finished becomes failed with that
reason. Whoever waits here must be woken by both.
"""

__all__ = [
    "again",
    "assignment",
    "channel",
    "order",
    "outputs",
    "pieces",
    "pipeline",
    "reader",
    "recording",
    "sequence",
    "stream",
    "total",
]
