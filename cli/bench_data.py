"""The data of a benchmark's settings, opened once, and what the oracle alone may see of them."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from adaptpose.camera import pinhole
from adaptpose.cli.bench_study import Study
from adaptpose.cli.bench_tasks import TASKS, BenchTask, Setting, noise_of, resolved
from adaptpose.cli.experiment import Material
from adaptpose.cli.resume import changed_roles
from adaptpose.cli.specs import has_split
from adaptpose.cli.start_checks import check_frames, check_specs
from adaptpose.clips import Normalisation, PoseData
from adaptpose.datasets.fingerprints import fingerprint
from adaptpose.datasets.registry import DatasetSpec, open_dataset, open_target
from adaptpose.errors import CheckpointError


@dataclass(frozen=True)
class BenchData:
    """What a setting is made of. `marks` are fingerprints by role; `about` describes the data."""

    task: BenchTask
    material: Material
    validation: PoseData | None
    marks: dict[str, str]
    about: dict[str, Any]

    @property
    def test(self) -> PoseData:
        """The labelled test set, which only monitors and scores see."""
        assert self.material.test is not None
        return self.material.test

    def oracle_material(self) -> Material:
        """The material whose source also holds the target's part to adapt on, with its 3D.

        Those clips are repeated until they have as many frames as the source, so that half of
        what the oracle learns from is the target. Lenses are placeholders: it learns from these
        windows as they are, and sources may differ in their distortion models.
        """
        source, target = self.material.source, _seen(open_dataset(self.task.target), self.task)
        times = max(1, round(_frames(source) / max(1, _frames(target))))
        clips = source.clips + target.clips * times
        clips = tuple(dataclasses.replace(clip, intrinsics=pinhole(1.0)) for clip in clips)
        joined = dataclasses.replace(source, clips=clips)
        return dataclasses.replace(self.material, source=joined)


@dataclass
class DataStore:
    """Opens data when it is first needed; sources stay open, targets until the next."""

    study: Study
    sources: dict[DatasetSpec, PoseData] = field(default_factory=dict)
    last: tuple[tuple[str, str], BenchData] | None = None

    def open(self, setting: Setting, known: dict[str, Any]) -> BenchData:
        """The data of a setting; CheckpointError if it is not that of `known`, see `bench.json`."""
        place = (setting.task, setting.input)
        if self.last is None or self.last[0] != place:
            self.last = None
            self.last = (place, self._open(setting))
        data, name = self.last[1], "/".join(place)
        before = known.get(name, data.about)
        what = f"{self.study.path}: the data of {name}"
        other = changed_roles(before["fingerprints"], data.marks, what)
        other += [role for role in data.marks if _counts(before, role) != _counts(data.about, role)]
        if other:
            roles = ", ".join(dict.fromkeys(other))
            what = f"the data of {name} ({roles}) is not what the benchmark began with"
            fix = "restore the data, or another --out"
            raise CheckpointError(f"{self.study.path}: {what} (fix: {fix})")
        known[name] = data.about
        return data

    def _open(self, setting: Setting) -> BenchData:
        task = task_of(self.study, setting)
        source = _seen(self._source(task.source), task)
        validation = None
        if has_split(task.source.name, "validation"):
            part = dataclasses.replace(task.source, split="validation")
            validation = _seen(self._source(part), task)
        target, test = open_target(task.target), _seen(open_dataset(task.test), task)
        material = Material(
            source, dataclasses.replace(target, normalisation=task.normalisation), test
        )
        check_frames(material.source, "source")
        check_frames(material.target, "target")
        marks = material.fingerprints()
        if validation is not None:
            marks["validation"] = fingerprint(validation)
        parts = {"source": source, "validation": validation, "test": test}
        about = {
            "fingerprints": marks,
            "normalisation": task.normalisation,
            "target": {"name": target.name, **_size(target.clips)},
            **{role: _describe(part) for role, part in parts.items() if part is not None},
        }
        return BenchData(task, material, validation, marks, about)

    def _source(self, spec: DatasetSpec) -> PoseData:
        if spec not in self.sources:
            self.sources[spec] = open_dataset(spec)
        return self.sources[spec]


def task_of(study: Study, setting: Setting) -> BenchTask:
    """The task of a setting with its data under the study's root."""
    return resolved(TASKS[setting.task], noise_of(setting), study.data_root)


def check_tasks(study: Study) -> None:
    """Raise what is wrong with the data of any setting, as far as that shows before reading it."""
    for setting in study.settings:
        task = task_of(study, setting)
        name = f"--tasks {task.name}"
        check_specs({name: task.source})
        check_specs({name: task.target})
        check_specs({name: task.test})


def _seen(data: PoseData, task: BenchTask) -> PoseData:
    """The data with its 2D as the task's lifters see it."""
    seen: Normalisation = task.normalisation
    return dataclasses.replace(data, normalisation=seen)


def _frames(data: PoseData) -> int:
    return sum(int(clip.valid.sum()) for clip in data.clips)


def _counts(about: dict[str, Any], role: str) -> list[Any]:
    return [about.get(role, {}).get(key) for key in ("clips", "frames")]


def _size(clips: Any) -> dict[str, int]:
    return {"clips": len(clips), "frames": sum(int(clip.valid.sum()) for clip in clips)}


def _describe(data: PoseData) -> dict[str, Any]:
    who = {"synthetic": data.synthetic, "licence": data.licence, "credit": data.credit}
    return {"name": data.name, **_size(data.clips), **who}
