"""The record of a benchmark: one JSON line per row. A row requires a check of its result and its accuracy."""

import json
import statistics
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

SCHEMA = 1
MIN_ROUNDS = 5

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class WrongAnswer(Exception):
    """The timed code did not compute the right result."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(_Strict):
    """The machine and versions, as described by benchmarks.machine."""

    cpu: Text
    cores: Annotated[int, Field(ge=1)]
    load_before: float
    commit: Text
    versions: dict[str, str]


class Answer(_Strict):
    """Whether the timed code gave the right result. Without it there is no row, however fast the code is."""

    compared_with: Text
    outcome: Text
    # The accuracy: at least one figure, such as {"max_box_error_px": 0.0} or {"map50_95": 0.3385}.
    accuracy: Annotated[dict[Text, float], Field(min_length=1)]
    right: Literal[True]


def checked(right: bool, compared_with: str, outcome: str, **accuracy: float) -> Answer:
    """Return the answer of a row. Raises WrongAnswer with all of it if it is wrong."""
    if not right:
        figures = ", ".join(f"{name} {value:.6g}" for name, value in accuracy.items())
        raise WrongAnswer(f"compared with {compared_with}: {outcome} ({figures})")
    return Answer(compared_with=compared_with, outcome=outcome, accuracy=accuracy, right=True)


class Spread(_Strict):
    """Median, lowest and highest."""

    median: float
    low: float
    high: float


class Row(_Strict):
    """One case of one stage: ours and the peers, measured in the same rounds."""

    format: Literal[1] = SCHEMA
    run: Text  # the same for all rows of one run: UTC time and commit
    profile: Literal["quick", "full", "large"]
    machine: Machine
    stage: Text
    case: Text
    input: Text  # what was read, with its size
    unit: Text  # of `figures`, such as "us per frame" or "fps"
    better: Literal["lower", "higher"]
    ours: Text  # the name of ours among the figures
    # A value per round for each participant, in order of the rounds.
    figures: Annotated[dict[Text, list[Positive]], Field(min_length=1)]
    warmup: Annotated[int, Field(ge=0)]
    answer: Answer
    parameters: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> "Row":
        if self.ours not in self.figures:
            raise ValueError(f"ours must be one of the figures ({', '.join(self.figures)}). Got {self.ours!r}.")
        lengths = {name: len(values) for name, values in self.figures.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"every figure needs as many rounds as the others. Got {lengths}.")
        if min(lengths.values()) < MIN_ROUNDS:
            raise ValueError(f"at least {MIN_ROUNDS} rounds are needed. Got {lengths[self.ours]}.")
        return self

    @computed_field  # type: ignore[prop-decorator]
    @property
    def spreads(self) -> dict[str, Spread]:
        return {name: spread(values) for name, values in self.figures.items()}

    @computed_field  # type: ignore[prop-decorator]
    @property
    def times_better(self) -> dict[str, Spread]:
        """How many times better ours is than each peer, round by round."""
        return {peer: spread(self.ratios(peer)) for peer in self.figures if peer != self.ours}

    def ratios(self, peer: str) -> list[float]:
        """Return a ratio per round, above 1 if ours is better."""
        pairs = zip(self.figures[peer], self.figures[self.ours], strict=True)
        return [theirs / mine if self.better == "lower" else mine / theirs for theirs, mine in pairs]


def spread(values: list[float]) -> Spread:
    """Return median, lowest and highest of at least one value."""
    return Spread(median=statistics.median(values), low=min(values), high=max(values))


DERIVED = set(Row.model_computed_fields)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a run. Raises ValueError, with the line's number, where one is not a row, and where there is
    none."""
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no file of results: it is not text.") from error
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            rows.append(Row.model_validate({key: value for key, value in values.items() if key not in DERIVED}))
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}, is not a row of a benchmark: {_reason(error)}.") from error
    if not rows:
        raise ValueError(f"{path} contains no row of a benchmark.")
    return rows


def _reason(error: Exception) -> str:
    """Return the error in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}".removeprefix(": ")
    return "not a JSON object"
