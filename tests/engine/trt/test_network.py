"""What TensorRT itself refuses, with stand-ins for it; and the timing cache, which TensorRT for RTX has no use for."""

import contextlib
import errno
import os
from types import SimpleNamespace

import pytest

from engine.errors import BackendMissing, ConfigError, OutputError, PlanError
from engine.inference.trt.build import timing_cache
from engine.inference.trt.flavors import FLAVORS, Flavor
from engine.inference.trt.network import make_builder, parse


class Error:
    def __init__(self, node, name, operator, text):
        self._parts = node, name, operator, text

    def node(self):
        return self._parts[0]

    def node_name(self):
        return self._parts[1]

    def node_operator(self):
        return self._parts[2]

    def desc(self):
        return self._parts[3]


class OldError:
    """Of a TensorRT before 10, which has the node's number only."""

    def node(self):
        return 7

    def desc(self):
        return "Unsupported\n  operator."


def flavor(builder=None, errors=(), flags=("STRONGLY_TYPED",)):
    class Parser:
        num_errors = len(errors)

        def __init__(self, network, logger):
            pass

        def parse(self, data):
            return not errors

        def get_error(self, index):
            return errors[index]

    module = SimpleNamespace(
        __version__="11.4",
        Builder=builder,
        OnnxParser=Parser,
        NetworkDefinitionCreationFlag=SimpleNamespace(__members__=dict.fromkeys(flags, 1)),
    )
    return Flavor(FLAVORS["tensorrt"], module)


LOG = SimpleNamespace(errors=[])


def refuse(logger):
    logger.errors.append("CUDA initialization failure with error: 35")
    raise TypeError("pybind11::init(): factory function returned nullptr")


@pytest.mark.parametrize(
    "builder", [refuse, lambda logger: logger.errors.append("CUDA initialization failure with error")]
)
def test_no_driver(builder):
    with pytest.raises(BackendMissing, match=r"TensorRT 11.4 can't start here: CUDA initialization failure"):
        make_builder(flavor(builder), SimpleNamespace(errors=[]))


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([Error(3, "/conv", "Conv", "odd\n weights.")], "can't read m.onnx: /conv (Conv): odd weights."),
        ([Error(3, "", "", "odd.")], "can't read m.onnx: node 3 odd."),
        ([Error(-1, "", "", "no graph")], "can't read m.onnx: no graph."),
        ([OldError()], "can't read m.onnx: node 7 Unsupported operator."),
    ],
)
def test_what_the_parser_refuses(errors, said):
    builder = SimpleNamespace(create_network=lambda flags: "network")
    with pytest.raises(PlanError) as caught:
        parse(flavor(errors=errors), builder, LOG, b"", "m.onnx")
    assert str(caught.value) == f"TensorRT 11.4 {said}"


@pytest.mark.parametrize(("flags", "asked"), [(("STRONGLY_TYPED",), 2), ((), 0)])
def test_networks_are_strongly_typed(flags, asked):
    seen = []
    builder = SimpleNamespace(create_network=lambda value: seen.append(value))
    parse(flavor(flags=flags), builder, LOG, b"", "m.onnx")
    assert seen == [asked]


class Config:
    def __init__(self, accepts=True):
        self.accepts = accepts
        self.given = None

    def create_timing_cache(self, data):
        self.given = data
        return data

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False
        return self.accepts

    def get_timing_cache(self):
        return SimpleNamespace(serialize=lambda: b"timings")


def test_timings_are_kept_between_builds(tmp_path):
    path, config = tmp_path / "t.cache", Config()
    for given in (b"", b"timings"):
        with timing_cache(flavor(), config, path):
            assert config.given == given
        assert path.read_bytes() == b"timings"
    assert [each.name for each in tmp_path.iterdir()] == ["t.cache"]


def test_no_timing_cache_was_asked_for():
    with timing_cache(flavor(), None, None):
        pass


def test_a_build_that_fails_changes_no_timings(tmp_path):
    path = tmp_path / "t.cache"
    with contextlib.suppress(PlanError), timing_cache(flavor(), Config(), path):
        raise PlanError("no")
    assert not path.exists()


def test_timings_of_another_gpu_are_refused(tmp_path):
    path = tmp_path / "t.cache"
    path.write_bytes(b"foreign")
    with (
        pytest.raises(ConfigError, match=r"is of another GPU or version than TensorRT 11.4 here. Name another file."),
        timing_cache(flavor(), Config(accepts=False), path),
    ):
        pytest.fail("it was used")
    assert path.read_bytes() == b"foreign"


def test_timings_that_can_t_be_read_or_written(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="can't be read"), timing_cache(flavor(), Config(), tmp_path):
        pytest.fail("it was used")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OutputError, match="can't be written: no space left on the disk"),
        timing_cache(flavor(), Config(), tmp_path / "t.cache"),
    ):
        pass
