"""Validation of a side-car's fields. It is a text file that people may edit, so it is not trusted."""

from __future__ import annotations

import shlex
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from engine.inference.trt.flavors import FLAVORS
from models.layouts import LAYOUTS


def read_fields(text: str) -> Fields:
    """Parse the fields of a side-car from its JSON, without the schema. Raises ValueError with the first problem."""
    try:
        return Fields.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where!r:.60}: {first['msg']}" if where else first["msg"]) from None


def _known_layout(value: str) -> str:
    if value not in LAYOUTS:
        raise ValueError("a layout that is not known here")
    return value


def _known_flavor(value: str) -> str:
    if value not in FLAVORS:
        raise ValueError("a flavour that is not known here")
    return value


def _command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError:
        words = []
    if words[:2] != ["yolo-engine", "build-trt"] or len(words) < 3:
        raise ValueError("no command that builds a plan")
    if shlex.join(words) != value:  # it is shown to be run, so a shell must parse it into exactly these words
        raise ValueError("a command with more in it than the words of one command")
    return value


_Name = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=1000)]
_Long = Annotated[str, Field(min_length=1, max_length=1 << 15)]  # with paths
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=1, lt=1 << 31)]
_Shape = tuple[_Count, Literal[3], _Count, _Count]
_Seconds = Annotated[float, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Profile(_Strict):
    least: _Shape
    opt: _Shape
    most: _Shape


def _rising(profile: _Profile) -> _Profile:
    if not all(a <= b <= c for a, b, c in zip(profile.least, profile.opt, profile.most, strict=True)):
        raise ValueError("shapes that do not rise")
    return profile


class _Tensor(_Strict):
    name: _Name
    dtype: _Name
    shape: tuple[Annotated[int, Field(ge=-1, lt=1 << 31)], ...]


class _Calibration(_Strict):
    pictures: _Count
    sha256: _Sha256


class _Checked(_Strict):
    worst: float
    most: float
    slots: float
    shapes: tuple[tuple[_Count, ...], ...]


_Finite = Annotated[float, Field(ge=-1e6, le=1e6)]


class _Fed(_Strict):
    scale: _Finite | tuple[_Finite, _Finite, _Finite] | None
    mean: tuple[_Finite, _Finite, _Finite] | None
    channel_order: Literal["rgb", "bgr"] | None


class Fields(_Strict):
    """See engine.inference.trt.sidecar.PlanRecord."""

    model: _Long
    layout: Annotated[str, AfterValidator(_known_layout)]
    onnx_sha256: _Sha256
    plan_sha256: _Sha256
    plan_bytes: Annotated[int, Field(ge=0, lt=1 << 63)]
    flavor: Annotated[str, AfterValidator(_known_flavor)]
    version: _Name
    gpu: _Name | None
    compute_capability: Annotated[str, Field(pattern=r"^\d{1,3}\.\d{1,3}$")]
    precision: Literal["fp32", "fp16", "bf16", "int8"]
    profile: Annotated[_Profile, AfterValidator(_rising)]
    batch_safe: bool
    inputs: Annotated[tuple[_Tensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[_Tensor, ...], Field(min_length=1)]
    calibration: _Calibration | None
    options: dict[_Name, int | None]
    built_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT[0-9:.+-]+$", max_length=40)]
    build_s: _Seconds
    command: Annotated[_Long, AfterValidator(_command)]
    checked: _Checked | None
    fed: _Fed | None = None
