"""Going on after a kill: attempts at a video, their journals and checkpoints, and whose result stands.

`attempts` has the rules between processes, `checkpoint` and `journal` what one leaves to go on with, `fingerprint` what
a result depends on, `audio_cursor` the sound given out, `partial_outputs` what an unfinished video is worth to its
user, `steps` the boundaries at which tests halt an attempt.

A checkpoint is a barrier that travels with the data, so that no thread waits for another and all its parts stand behind
one frame. Every 5 s the reader puts a Barrier on a frame: its index, pts and CRC, key frames to seek to, the sound.
The tracker adds its state. The sinks, once they have the frame, note the size of their part files; the annotated
video's encoder may hold the frame back, and the checkpoint waits until its packet is in the log. Parts are fsynced,
then the journal is replaced. Whoever goes on copies the parts up to these sizes into a folder of its own, seeks to a
key frame or decodes from the beginning, and compares the frame at the mark with what was noted: what differs is started
over.
"""

__all__ = ["attempts", "audio_cursor", "checkpoint", "fingerprint", "journal", "partial_outputs", "steps"]
