"""Every key: its default, its rule, its message; and the files that hold them."""

import re
from pathlib import Path

import click
import pydantic
import pytest

from engine.cli.run import run as run_command
from engine.config import OTHER_KEYS, RESULT_KEYS, EngineConfig, load_config
from engine.errors import ConfigError
from engine.trackers import registry

DEFAULTS = {
    # the original program's keys, whose defaults may never change
    "max_age": 10,
    "min_hits": 3,
    "iou_threshold": 0.3,
    **dict.fromkeys(registry.KEYS[3:]),  # of the other trackers
    "skip_frames": False,
    "fill": "predict",
    "gate": "off",
    "full_every_s": 2.0,
    "gate_scale": 1.0,
    "gate_target": 0.98,
    "scan": False,
    "visualize": True,
    "output_folder": Path("output_videos"),
    "overwrite": False,
    "max_detections_in_memory": 10_000,
    "save_intermediate_results": True,
    # this program's own
    "model": "street-nano",
    "layout": None,
    "class_names": None,
    "input_size": None,
    "input_scale": None,
    "input_mean": None,
    "channel_order": None,
    "conf": 0.25,
    "nms_iou": 0.45,
    "classes": None,
    "class_agnostic": False,
    "max_detections": 300,
    "tracker": "sort",
    "class_groups": None,
    "formats": ("tracks", "mot"),
    "store_conf": None,
    "shape": "auto",
    "backend": "auto",
    "precision": "f32",
    "device": "auto",
    "build_plan": False,
    "batch": None,
    "streams": None,
    "workers": None,
    "window": None,
    "resume": True,
    "start_s": 0.0,
    "end_s": None,
    "duration_s": None,
    "max_pixels": 134_217_728,
    "max_frame_bytes": 54_525_952,
    "max_duration_s": None,
    "max_decode_s": None,
    "scene": None,
    "tables": None,
    "heatmap": False,
    "crops": False,
    "report": None,
    "report_language": "en",
    "bin_s": 900.0,
    "zone": "UTC",
    "start": None,
    "clock_patterns": (),
    "camera": None,
    "max_gap_s": 1.0,
    "max_overlap_s": 2.0,
    "clips": None,
    "export": None,
    "open_timeout_s": 15.0,
    "read_timeout_s": 15.0,
    "reconnect_attempts": 5,
    "segment": 600.0,
    "split_s": None,
    "label": ("class", "id"),
    "colour_by": "id",
    "draw": None,
    "line_width": None,
    "label_size": None,
    "trail_s": 0.0,
    "video_crf": 25,
    "video_preset": "ultrafast",
    "blur": None,
    "only_blur": False,
    "blur_style": "pixelate",
    "blur_pad": 0.15,
    "blur_hold_s": 0.5,
    "blur_conf": 0.1,
}


def refusal(**values):
    with pytest.raises(ConfigError) as caught:
        EngineConfig(**values)
    return str(caught.value)


def test_defaults():
    config = EngineConfig()
    assert config.model_dump() == DEFAULTS
    assert [type(value) for value in config.model_dump().values()] == [type(value) for value in DEFAULTS.values()]


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [
        ("scene", "a.toml", (Path("a.toml"),)),
        ("scene", ["a.toml", {"camera": "b"}], (Path("a.toml"), {"camera": "b"})),
        ("tables", "csv,xlsx", ("csv", "xlsx")),
        ("bin_s", "15m", 900.0),
        ("bin_s", "1h", 3600.0),
        ("bin_s", "1d", 86_400.0),
        ("bin_s", "1h30m", 5400.0),
        ("bin_s", "90 min", 5400.0),
        ("zone", "Europe/Berlin", "Europe/Berlin"),
        ("start", "2024-05-01 08:00", "2024-05-01T08:00:00"),
        ("start", {"a*": "2024-05-01T08:00:00+02:00"}, {"a*": "2024-05-01T08:00:00+02:00"}),
        ("clock_patterns", "%Y%m%d", ("%Y%m%d",)),
        ("camera", r"cam\d+", r"cam\d+"),
        ("max_gap_s", "2s", 2.0),
        ("max_age", 0, 0),  # zero means zero
        ("min_hits", 0, 0),
        ("iou_threshold", 0, 0.0),
        ("iou_threshold", 1, 1.0),
        ("conf", 0.0, 0.0),
        ("nms_iou", 1.0, 1.0),
        ("max_detections_in_memory", 1, 1),
        ("max_detections", 30_000, 30_000),
        ("batch", 1, 1),
        ("batch", 64, 64),
        ("batch", None, None),  # None means not given
        ("streams", 64, 64),
        ("workers", 64, 64),
        ("window", 1024, 1024),
        ("reconnect_attempts", 0, 0),
        ("video_crf", 0, 0),
        ("video_crf", 51, 51),
        ("open_timeout_s", 3600, 3600.0),
        ("read_timeout_s", 0.1, 0.1),
        ("segment", "90s", 90.0),
        ("segment", "10m", 600.0),
        ("segment", " 1H ", 3600.0),
        ("segment", "1h30m", 5400.0),
        ("segment", "45", 45.0),
        ("segment", 2.5, 2.5),
        ("input_size", "256,416", (256, 416)),  # from the command line
        ("input_size", [32, 4096], (32, 4096)),  # from a file
        ("input_scale", 1, 1.0),
        ("input_scale", "0.5", 0.5),  # from a command line
        ("input_scale", "1,2,3", (1.0, 2.0, 3.0)),  # one a channel
        ("input_mean", [1, 2, 3], (1.0, 2.0, 3.0)),  # as JSON has it
        ("input_mean", "-1", -1.0),
        ("device", "cuda", "cuda"),
        ("device", "cuda:12", "cuda:12"),
        ("classes", "person, car", ("person", "car")),
        ("classes", ["person", "traffic light"], ("person", "traffic light")),
        ("classes", "a,,b,", ("a", "b")),  # a comma too many
        ("class_names", "a,b", ("a", "b")),
        ("formats", "detections", ("detections",)),
        ("formats", [], ()),  # an annotated video only
        ("formats", "mot,tracks", ("mot", "tracks")),
        ("output_folder", "out", Path("out")),
        ("layout", "yolov5", "yolov5"),
        ("channel_order", "bgr", "bgr"),
        ("precision", "bf16", "bf16"),
        ("video_preset", "medium", "medium"),
        ("label", "id,score", ("id", "score")),
        ("label", "none", ()),
        ("colour_by", "class", "class"),
        ("label_size", 30, 30),
        ("draw", "lines,clock", ("lines", "clock")),
        ("draw", "none", ()),
        ("trail_s", 2, 2.0),
        ("backend", "openvino", "openvino"),
        ("shape", "rect", "rect"),
    ],
)
def test_accepted(key, given, kept):
    value = getattr(EngineConfig(**{key: given}), key)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("key", "given", "rule"),
    [
        ("scene", 3, "a path, or a scene as a table. Got 3"),
        ("scene", "", "a path, or a scene as a table. Got ''"),
        ("output_folder", "", "a path that is not empty. Got ''"),
        ("tables", "csv,ods", "one of 'csv', 'parquet' or 'xlsx'. Got 'ods'"),
        ("heatmap", "perhaps", "true or false. Got 'perhaps'"),
        ("crops", "perhaps", "true or false. Got 'perhaps'"),
        ("report", "perhaps", "true or false. Got 'perhaps'"),
        ("build_plan", "perhaps", "true or false. Got 'perhaps'"),
        ("report_language", "de", "one of 'en' or 'es'. Got 'de'"),
        ("bin_s", "soon", "seconds, or a length such as 30s, 15m, 1h or 1d. Got 'soon'"),
        ("bin_s", 0, "at least 1. Got 0"),
        ("bin_s", "2d", "at most 86400. Got '2d'"),
        ("bin_s", "1h30", "seconds, or a length such as 30s, 15m, 1h or 1d. Got '1h30'"),
        ("bin_s", "25h", "at most 86400. Got '25h'"),
        ("zone", "Berlin", "an IANA name such as Europe/Berlin. Got 'Berlin'"),
        ("zone", "../../etc/passwd", "an IANA name such as Europe/Berlin. Got '../../etc/passwd'"),
        ("start", "noon", "a time such as 2024-05-01T08:00:00. Got 'noon'"),
        ("start", {"a*": "noon"}, "a time such as 2024-05-01T08:00:00. Got {'a*': 'noon'}"),
        ("clock_patterns", "day", "a strptime pattern such as %Y%m%d_%H%M%S. Got 'day'"),
        (
            "camera",
            "cam(",
            "\"folder\", or a regular expression (missing ), unterminated subpattern at position 3). Got 'cam('",
        ),
        ("max_gap_s", -1, "at least 0. Got -1"),
        ("max_overlap_s", "x", "seconds, or a length such as 30s, 15m, 1h or 1d. Got 'x'"),
        ("store_conf", 1.5, "at most 1. Got 1.5"),
        ("max_age", -1, "at least 0. Got -1"),
        ("max_age", 100_001, "at most 100000. Got 100001"),
        ("max_age", True, "a number, not true or false. Got True"),  # else 1 frame, without a word
        ("max_age", 2.5, "a whole number. Got 2.5"),
        ("max_age", "many", "a whole number. Got 'many'"),
        ("max_age", None, "a whole number. Got None"),
        ("min_hits", -1, "at least 0. Got -1"),
        ("min_hits", 1001, "at most 1000. Got 1001"),
        ("min_hits", False, "a number, not true or false. Got False"),
        ("iou_threshold", -0.1, "at least 0. Got -0.1"),
        ("iou_threshold", 1.1, "at most 1. Got 1.1"),
        ("iou_threshold", True, "a number, not true or false. Got True"),
        ("iou_threshold", float("nan"), "at least 0. Got nan"),
        ("conf", 1.01, "at most 1. Got 1.01"),
        ("conf", "high", "a number. Got 'high'"),
        ("nms_iou", -1, "at least 0. Got -1"),
        ("visualize", "maybe", "true or false. Got 'maybe'"),
        ("visualize", 2, "true or false. Got 2"),
        ("save_intermediate_results", [], "true or false. Got []"),
        ("class_agnostic", None, "true or false. Got None"),
        ("output_folder", 5, "a path. Got 5"),
        ("overwrite", "perhaps", "true or false. Got 'perhaps'"),
        ("max_detections_in_memory", 0, "at least 1. Got 0"),
        ("max_detections", 0, "at least 1. Got 0"),
        ("max_detections", 30_001, "at most 30000. Got 30001"),
        ("model", "", "a text that is not empty. Got ''"),
        ("model", 5, "a text. Got 5"),
        (
            "layout",
            "yolo",
            "one of 'yolox', 'yolov5', 'yolov8', 'end2end', 'detr', 'detr-post', 'rtmdet', 'nanodet', 'nanodet-plus' "
            "or 'picodet'. Got 'yolo'",
        ),
        ("class_names", [], "a list of at least one name. Got []"),
        ("classes", "", "a list of at least one name. Got ''"),  # would find nothing, without a word
        ("classes", [""], "a text that is not empty. Got ''"),
        ("classes", [1], "a text. Got 1"),
        ("classes", 1, "a list, or a text with commas. Got 1"),
        ("input_size", "416", "two numbers, height and width. Got '416'"),
        ("input_size", 416, "two numbers, height and width. Got 416"),
        ("input_size", [416, 415], "two multiples of 32 in [32, 4096]. Got [416, 415]"),
        ("input_size", [0, 32], "two multiples of 32 in [32, 4096]. Got [0, 32]"),
        ("input_size", [32, 4128], "two multiples of 32 in [32, 4096]. Got [32, 4128]"),
        ("input_size", [True, 32], "a number, not true or false. Got True"),
        ("input_scale", 0, "more than 0. Got 0"),
        ("input_scale", "1,2", "a number, or three with commas, one per channel. Got '1,2'"),
        ("input_scale", "1,0,1", "more than 0. Got '1,0,1'"),
        ("input_mean", "1,nan,3", "three finite numbers. Got '1,nan,3'"),
        ("input_mean", [1, True, 2], "a number, or three with commas, one per channel. Got [1, True, 2]"),
        ("input_mean", 1e9, "at most 1,000,000 in size. Got 1000000000.0"),
        ("input_scale", True, "a number, not true or false. Got True"),
        ("input_scale", float("inf"), "a finite number. Got inf"),
        ("channel_order", "gbr", "one of 'rgb' or 'bgr'. Got 'gbr'"),
        ("precision", "fp16", "one of 'f32', 'bf16' or 'int8'. Got 'fp16'"),
        ("formats", "tracks,csv", "one of 'tracks', 'mot' or 'detections'. Got 'csv'"),
        ("shape", "round", "one of 'auto', 'square' or 'rect'. Got 'round'"),
        (
            "backend",
            "trt",
            "one of 'auto', 'native', 'onnxruntime', 'onnxruntime-tensorrt', 'openvino', 'tensorrt' or 'fake'. "
            "Got 'trt'",
        ),
        ("device", "gpu", "auto, cpu, cuda or cuda:N. Got 'gpu'"),
        ("device", "cuda:", "auto, cpu, cuda or cuda:N. Got 'cuda:'"),
        ("device", "cuda:0\n", "auto, cpu, cuda or cuda:N. Got 'cuda:0\\n'"),
        ("batch", 0, "at least 1. Got 0"),
        ("batch", 65, "at most 64. Got 65"),
        ("batch", True, "a number, not true or false. Got True"),
        ("streams", 0, "at least 1. Got 0"),
        ("streams", 65, "at most 64. Got 65"),
        ("workers", 0, "at least 1. Got 0"),
        ("workers", 65, "at most 64. Got 65"),
        ("window", 0, "at least 1. Got 0"),
        ("window", 1025, "at most 1024. Got 1025"),
        ("resume", "perhaps", "true or false. Got 'perhaps'"),
        ("start_s", -1, "at least 0. Got -1"),
        ("start_s", 1e308, "at most 10000000000.0. Got 1e+308"),
        ("start_s", "1:2:3:4", "seconds, or a time such as 1:30 or 1:02:03.5. Got '1:2:3:4'"),
        ("start_s", "soon", "seconds, or a time such as 1:30 or 1:02:03.5. Got 'soon'"),
        ("end_s", 0, "more than 0. Got 0"),
        ("end_s", float("inf"), "at most 10000000000.0. Got inf"),
        ("duration_s", 0, "more than 0. Got 0"),
        ("duration_s", True, "a number, not true or false. Got True"),
        ("max_pixels", 0, "at least 1. Got 0"),
        ("max_frame_bytes", 0, "at least 1. Got 0"),
        ("max_duration_s", 0, "more than 0. Got 0"),
        ("max_decode_s", float("inf"), "a finite number. Got inf"),
        ("export", "voc", "one of 'cvat', 'mot', 'coco', 'yolo', 'labelstudio' or 'fiftyone'. Got 'voc'"),
        ("clips", "yes", "true, or a table of keys. Got 'yes'"),
        ("fill", "yes", "one of 'predict' or 'both'. Got 'yes'"),
        ("gate", "yes", "one of 'off' or 'motion'. Got 'yes'"),
        ("full_every_s", 0, "more than 0. Got 0"),
        ("full_every_s", 61, "at most 60. Got 61"),
        ("full_every_s", True, "a number, not true or false. Got True"),
        ("gate_scale", 0.5, "at least 1. Got 0.5"),
        ("gate_scale", 5, "at most 4. Got 5"),
        ("gate_target", 1.1, "at most 1. Got 1.1"),
        ("scan", "maybe", "true or false. Got 'maybe'"),
        ("open_timeout_s", 0, "more than 0. Got 0"),
        ("open_timeout_s", True, "a number, not true or false. Got True"),
        ("read_timeout_s", 3601, "at most 3600. Got 3601"),
        ("read_timeout_s", float("inf"), "at most 3600. Got inf"),
        ("reconnect_attempts", -1, "at least 0. Got -1"),
        ("segment", "", "seconds, or a length such as 30s, 15m, 1h or 1d. Got ''"),
        ("segment", "10x", "seconds, or a length such as 30s, 15m, 1h or 1d. Got '10x'"),
        ("segment", "-1s", "seconds, or a length such as 30s, 15m, 1h or 1d. Got '-1s'"),
        ("segment", "0s", "at least 1. Got '0s'"),
        ("split_s", 0, "at least 1. Got 0"),
        ("segment", "25h", "at most 86400. Got '25h'"),
        ("segment", True, "a number, not true or false. Got True"),
        ("blur", [], "a list of at least one name. Got []"),
        ("only_blur", "perhaps", "true or false. Got 'perhaps'"),
        ("blur_style", "smear", "one of 'pixelate' or 'fill'. Got 'smear'"),
        ("blur_pad", -1, "at least 0. Got -1"),
        ("blur_hold_s", 6, "at most 5. Got 6"),
        ("blur_conf", 2, "at most 1. Got 2"),
        ("label", "size", "one of 'class', 'id' or 'score'. Got 'size'"),
        ("colour_by", "score", "one of 'id' or 'class'. Got 'score'"),
        ("line_width", 0, "at least 1. Got 0"),
        ("label_size", 6, "at least 7. Got 6"),
        ("draw", "boxes", "one of 'lines', 'zones', 'counts' or 'clock'. Got 'boxes'"),
        ("trail_s", 61, "at most 60. Got 61"),
        ("trail_s", True, "a number, not true or false. Got True"),
        ("video_crf", 52, "at most 51. Got 52"),
        ("video_crf", -1, "at least 0. Got -1"),
        (
            "video_preset",
            "slow",
            "one of 'ultrafast', 'superfast', 'veryfast', 'faster', 'fast' or 'medium'. Got 'slow'",
        ),
    ],
)
def test_refused(key, given, rule):
    assert refusal(**{key: given}) == f"{key} must be {rule}."


@pytest.mark.parametrize(
    ("given", "seconds"), [(90, 90.0), ("90", 90.0), ("1.5", 1.5), ("1:30", 90.0), ("1:02:03.5", 3723.5), ("0:00", 0.0)]
)
def test_a_time_may_be_written_as_a_clock_shows_it(given, seconds):
    assert EngineConfig(start_s=given).start_s == seconds


def test_the_end_of_a_part_is_given_once():
    assert EngineConfig(start_s=2, duration_s=3).part_ends_s == 5
    assert EngineConfig(start_s=2, end_s=3).part_ends_s == 3
    assert EngineConfig(start_s=2).part_ends_s is None
    assert refusal(gate="motion", skip_frames=1).startswith("gate and skip_frames exclude each other")
    assert refusal(scan=True, skip_frames=1).startswith("scan and skip_frames exclude each other")
    assert refusal(fill="both", skip_frames=31).startswith("skip_frames must be at most 30 with fill = both")
    assert refusal(end_s=3, duration_s=3) == "end_s and duration_s exclude each other: give one of them."
    assert refusal(start_s=3, end_s=3) == "end_s must be more than start_s = 3."


def test_every_key_either_changes_results_or_does_not():
    """A new key must be put into one of the two sets, or a checkpoint could continue under another configuration."""
    assert set(EngineConfig.model_fields) == RESULT_KEYS | OTHER_KEYS
    assert not RESULT_KEYS & OTHER_KEYS


def test_every_key_that_can_be_wrong_is_in_the_table_above():
    marks = test_refused.pytestmark[0].args[1]
    elsewhere = {"skip_frames", "tracker", "class_groups", *registry.KEYS[3:]}  # next test, test_tracker_choice.py
    assert set(EngineConfig.model_fields) - {row[0] for row in marks} == elsewhere


@pytest.mark.parametrize(
    ("given", "kept", "between"),
    [
        (False, False, 0),
        (True, True, 1),  # every second frame
        (0, 0, 0),
        (1, 1, 1),
        (7, 7, 7),
        (1000, 1000, 1000),
        ("3", 3, 3),  # as text, from the command line
        ("True", True, 1),
        ("false", False, 0),
        (2.0, 2, 2),
    ],
)
def test_skip_frames(given, kept, between):
    config = EngineConfig(skip_frames=given)
    assert config.skip_frames is kept or (config.skip_frames == kept and type(config.skip_frames) is int)
    assert config.frames_between_inferences == between


@pytest.mark.parametrize("given", [-1, 1001, "x", "2.5", 2.5, None, [], float("nan"), float("inf")])
def test_skip_frames_refused(given):
    rule = "skip_frames must be true, false or a whole number in [0, 1000]"
    assert refusal(skip_frames=given) == f"{rule}. Got {given!r}."


@pytest.mark.parametrize(
    ("key", "ending"),
    [
        ("maxage", "Did you mean max_age?"),
        ("iou_treshold", "Did you mean iou_threshold?"),
        ("zzz", "The keys are: max_age, min_hits, "),  # nothing near: all of them
        ("self", "The keys are: "),  # Python's own word for the first argument
        ("", "The keys are: "),
    ],
)
def test_unknown_key(key, ending):
    assert refusal(**{key: 1}).startswith(f"Unknown key {key!r} in the configuration. {ending}")


def test_frozen():
    config = EngineConfig()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.batch = 2
    assert config.batch is None


def test_updated_is_checked_and_leaves_the_first_alone():
    config = EngineConfig(conf=0.5, skip_frames=True)
    other = config.updated(batch=4)
    assert (other.batch, other.conf, other.skip_frames) == (4, 0.5, True)
    assert config.batch is None
    with pytest.raises(ConfigError, match=re.escape("batch must be at least 1. Got 0.")):
        config.updated(batch=0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '{"max_age": 5, "skip_frames": true}'),
        ("a.JSON", '\ufeff{"max_age": 5, "skip_frames": true}'),  # as a Windows editor saves it
        ("a.toml", "max_age = 5\nskip_frames = true\n"),
        ("a.TOML", "max_age = 5\nskip_frames = true\n"),
        ("settings", '{"max_age": 5, "skip_frames": true}'),  # JSON without a suffix, as the original reads it
    ],
)
def test_load(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert load_config(path) == {"max_age": 5, "skip_frames": True}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.json", None, "can't be read: no such file or directory."),
        ("a.json", b"{", "is not JSON: "),
        ("a.json", b"", "is not JSON: "),
        ("a.json", b"[" * 100_000, "is not JSON: "),  # deeper than the parser goes
        ("a.toml", b"max_age = ", "is not TOML: "),
        ("a.toml", b'{"max_age": 5}', "is not TOML: "),
        ("a.json", b"max_age = 5", "is not JSON: "),
        ("a.json", b"[1]", "must hold keys and values. Got [1]."),
        ("a.json", b"null", "must hold keys and values. Got null."),
        ("a.json", b"\xff\xfe\x00", "can't be read: not a text file."),
    ],
)
def test_load_refuses(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"Configuration {path} {message}")


def test_load_refuses_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"can't be read: is a directory\."):
        load_config(tmp_path)


def test_defaults_are_told_once():
    """What an option's help names as its default is the configuration's."""
    shown = {option.name: option.help or "" for option in run_command.params if isinstance(option, click.Option)}
    for key in ("conf", "nms_iou", "max_detections", "shape", "backend", "device", "zone", "output"):
        default = EngineConfig.model_fields["output_folder" if key == "output" else key].default
        assert shown[key].endswith(f"  [{default}]"), key
    assert shown["formats"].endswith(f"  [{','.join(EngineConfig().formats)}]")
    for key in ("bin_s", "segment"):
        written = shown[key].rpartition("  [")[2].rstrip("]")
        assert getattr(EngineConfig(**{key: written}), key) == getattr(EngineConfig(), key), key
    flags = {"visualize": "visualize", "resume": "resume", "heatmap": "no-heatmap", "class_agnostic": "aware"}
    for key, word in flags.items():
        assert shown[key].endswith(f"  [{word}]")
        assert EngineConfig.model_fields[key].default is (word == key)
