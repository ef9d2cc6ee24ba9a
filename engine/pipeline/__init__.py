"""The threads of a run: how they start, meet, fail and stop, and the path of one video through them.

`pipeline` is the one place where threads start, fail and stop. `stream` is one video and how it ended, `reader` its
source and decoder, `ways` how frames come of its packets, `missing` what its file lacks, `held_sound` what it has read
of the sound of later frames, `batch` joins frames of many streams, `channel` is the bounded queue between two threads,
`flow_control` bounds the frames of a stream in flight, `outputs` decides where results go, `assignment` is a video
assigned from elsewhere, `pieces` has the detections of others in a long one, `groups` tells which of its groups of
pictures need not be decoded then, and `drawing` makes its annotated video of pieces that several have drawn. `sequence`
is a file's place among those of its camera, `order` processes them one after the other, `facts` is what the manifest
records about images and times. `again` reads a file's frames once more, after a run. `heap` keeps frames out of the
heaps of threads.

`recording` replaces the sinks of a live source and installs new ones at each segment boundary: no sink knows about
segments. The end of a segment is written on a separate thread; a third waiting segment blocks the source, which drops
frames and counts them. A segment is an attempt at a video of its own, committed and published like any other, and
replaces nothing; the remains of a killed one become `.partial` files when the next run starts.

A failure in one video (source, decoder, its sinks) ends that video: the first error is kept, frames in flight are
discarded, its EndOfStream still passes, and the other videos are unaffected. A failure of inference, or a bug in any
thread, closes every channel and window, which wakes every thread; each unfinished video becomes failed with that
reason. Anything that waits here must be woken by both.
"""

__all__ = [
    "again",
    "assignment",
    "channel",
    "drawing",
    "groups",
    "heap",
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
