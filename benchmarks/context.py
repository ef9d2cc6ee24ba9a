"""The context of a stage's benchmark: its profile, and the facts recorded with every row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from benchmarks.machine import commit, described
from benchmarks.record import Answer, Machine, Row

ProfileName = Literal["quick", "full", "large"]


@dataclass(frozen=True)
class Profile:
    """quick: under three minutes in total. full: all cases and curves. large: full with longer inputs and more
    rounds."""

    name: ProfileName
    rounds: int


PROFILES = {
    "quick": Profile("quick", 5),
    "full": Profile("full", 7),
    "large": Profile("large", 11),
}
PACKAGES = (
    "onnxruntime",
    "openvino",
    "numpy",
    "scipy",
    "av",
    "opencv-python-headless",
    "filterpy",
    "pyxtrackers",
    "ioutrack",
)


class Stage(Protocol):
    """A module of benchmarks/stages, which yields rows."""

    def measure(self, context: "Context") -> Iterator[Row]: ...


@dataclass(frozen=True)
class Context:
    profile: Profile
    run: str
    machine: Machine

    @classmethod
    def begin(cls, profile: ProfileName) -> "Context":
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        machine = Machine.model_validate(described(*PACKAGES))
        return cls(PROFILES[profile], f"{started}-{commit()}", machine)

    def row(
        self,
        stage: str,
        case: str,
        *,
        figures: Mapping[str, list[float]],
        unit: str,
        better: Literal["lower", "higher"],
        ours: str,
        input: str,
        answer: Answer,
        warmup: int = 1,
        **parameters: Any,
    ) -> Row:
        return Row(
            run=self.run,
            profile=self.profile.name,
            machine=self.machine,
            stage=stage,
            case=case,
            input=input,
            unit=unit,
            better=better,
            ours=ours,
            figures=dict(figures),
            warmup=warmup,
            answer=answer,
            parameters=parameters,
        )
