"""Resuming after a kill: attempts at a video, their journals and checkpoints, and whose result stands.

`attempts` has the rules between processes, `checkpoint` and `journal` what an attempt leaves for the next one,
`fingerprint` what a result depends on, `audio_cursor` the position in the sound, `partial_outputs` the files of an
unfinished video that a user can use, `steps` the boundaries at which tests suspend an attempt.

A checkpoint is a barrier that travels with the data, so no thread waits for another, and all its parts refer to the
same frame. Every 5 s the reader attaches a Barrier to a frame: its index, pts and CRC, key frames to seek to, the sound
position. The tracker adds its state. The sinks, once they have the frame, record the size of their part files; the
annotated video's encoder may hold the frame back, and the checkpoint waits until its packet is in the log. Parts are
fsynced, then the journal is replaced. To resume, an attempt copies the parts up to these sizes into its own folder,
seeks to a key frame or decodes from the beginning, and compares the frame at the barrier with the recorded one: if it
differs, the video is started over.
"""

__all__ = ["attempts", "audio_cursor", "checkpoint", "fingerprint", "journal", "partial_outputs", "steps"]
