"""What fits, and that a refusal names both sides."""

import pytest

from engine.errors import LinkError
from engine.specs import Spec, check_link
from engine.stage import Stage, link

RGB, YUV = frozenset({"rgb24", "bgr24"}), frozenset({"yuv420p", "rgb24"})


@pytest.mark.parametrize(
    ("gives", "takes", "mismatch"),
    [
        (Spec("Frame"), Spec("Frame"), None),
        (Spec("Frame"), Spec("Packet"), "record Frame against Packet"),
        (Spec("T", dtype="float32"), Spec("T"), None),  # open on one side
        (Spec("T"), Spec("T", dtype="float32"), None),
        (Spec("T", dtype="float32"), Spec("T", dtype="float16"), "dtype float32 against float16"),
        (Spec("T", channels=3), Spec("T", channels=1), "channels 3 against 1"),
        (Spec("F", pixel_formats=RGB), Spec("F", pixel_formats=YUV), None),  # one in common is enough
        (
            Spec("F", pixel_formats=RGB),
            Spec("F", pixel_formats=frozenset({"nv12", "gray"})),
            "pixel_formats bgr24, rgb24 against gray, nv12",
        ),
        (Spec("T", tensor_hw=(416, 416)), Spec("T", tensor_hw=(256, 416)), "tensor_hw (416, 416) against (256, 416)"),
        (Spec("R", layout="yolox"), Spec("R", layout="yolov8"), "layout yolox against yolov8"),
    ],
)
def test_mismatch(gives, takes, mismatch):
    assert gives.mismatch(takes) == mismatch
    if mismatch is None:
        check_link("infer", gives, "postprocess", takes)
        return
    with pytest.raises(LinkError) as caught:
        check_link("infer", gives, "postprocess", takes)
    assert str(caught.value) == f"infer can't feed postprocess: {mismatch}."


def stage(name, accepts, produces):
    made = Stage()
    made.name, made.accepts, made.produces = name, Spec(accepts), Spec(produces)
    return made


def test_link_checks_every_pair():
    good = [stage("a", "A", "B"), stage("b", "B", "C"), stage("c", "C", "D")]
    assert link(good) == good
    with pytest.raises(LinkError, match=r"b can't feed d: record C against X\."):
        link([*good[:2], stage("d", "X", "Y")])
    assert link([]) == []
    assert link(good[:1]) == good[:1]


def test_a_stage_without_process_says_so():
    bare = Stage()
    bare.open()
    bare.forget(0)
    bare.close()
    with pytest.raises(NotImplementedError):
        bare.process(None)
