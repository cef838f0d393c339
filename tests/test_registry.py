"""Datasets by name: what opens, what does not and why, and that a spec is all that counts."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from generated_data import walks_file
from stick_figure import walking_motion

from adaptpose.datasets import catalogue, corpora, files, registry, rigs, synthetic
from adaptpose.datasets.fingerprints import fingerprint
from adaptpose.datasets.noise import DetectorNoise, load_noise, save_noise
from adaptpose.datasets.registry import DatasetSpec, open_dataset, open_target
from adaptpose.errors import ConfigError, DataError, SkeletonError
from adaptpose.skeleton import H36M_16, H36M_17


@dataclass(frozen=True)
class _Corpus:
    name: str
    folder: str
    title: str
    licence: str
    credit: str
    where_to_get: str
    splits: tuple[str, ...]


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A data root with one corpus of four walks, read by a stand-in for the readers."""
    args = ("walks", "walkfolder", "Walks", "CC0", "all walkers", "example.org", ("train", "test"))
    listed = {"walks": _Corpus(*args)}

    def find_corpus(name, data_root):
        folder = data_root / listed[name].folder
        if not folder.is_dir():
            raise DataError(f"corpus '{name}': expected its files under {folder}, got none")
        return folder

    def load_motions(name, data_root, split, frame_rate_hz, cache_dir):
        find_corpus(name, data_root)
        if split not in listed[name].splits:
            raise ConfigError(f"unknown split of '{name}' '{split}'")
        people = ("a", "b", "c", "d") if split == "train" else ("e",)
        return [walking_motion(60, subject=p, frame_rate_hz=frame_rate_hz) for p in people]

    monkeypatch.setattr(corpora, "CORPORA", listed)
    monkeypatch.setattr(corpora, "find_corpus", find_corpus)
    monkeypatch.setattr(corpora, "load_motions", load_motions)
    monkeypatch.delenv(registry.DATA_ROOT_VARIABLE, raising=False)
    (tmp_path / "walkfolder").mkdir()
    return tmp_path


def _print(spec: DatasetSpec) -> str:
    return fingerprint(open_dataset(spec))


def test_a_corpus_is_filmed_in_the_studio_unless_told(root):
    data = open_dataset(DatasetSpec("walks", data_root=root))
    assert len(data.clips) == 16
    assert data.skeleton is H36M_16
    assert (data.licence, data.credit, data.synthetic) == ("CC0", "all walkers", False)
    assert data.clips[0].intrinsics.model == "h36m"
    ptz = open_dataset(DatasetSpec("walks", "ptz", data_root=root, skeleton="h36m17"))
    assert ptz.normalisation == "root_frobenius"
    assert ptz.skeleton is H36M_17
    slow = open_dataset(DatasetSpec("walks", data_root=root, frame_rate_hz=25.0))
    assert slow.clips[0].frame_rate_hz == 25


def test_the_same_spec_gives_the_same_data(root):
    spec = DatasetSpec("walks", data_root=root)
    assert _print(spec) == _print(spec)
    others = [
        replace(spec, seed=1),
        replace(spec, rig="surround"),
        replace(spec, noise="detector"),
        replace(spec, split="test"),
    ]
    assert len({_print(other) for other in [spec, *others]}) == 5


def test_target_has_the_2d_of_the_dataset_and_nothing_else(root):
    spec = DatasetSpec("walks", "handheld", data_root=root, noise="detector")
    target = open_target(spec)
    assert fingerprint(target) == fingerprint(open_dataset(spec).as_target())
    assert not hasattr(target.clips[0], "pose3d_cam")


def test_detector_noise_touches_the_2d_alone(root):
    clean = open_dataset(DatasetSpec("walks", data_root=root))
    noisy = open_dataset(DatasetSpec("walks", data_root=root, noise="detector"))
    for a, b in zip(clean.clips, noisy.clips, strict=True):
        assert torch.equal(a.pose3d_cam, b.pose3d_cam)
        assert not torch.equal(a.pose2d, b.pose2d)
        assert float((a.pose2d - b.pose2d).norm(dim=-1).median()) < 0.05


def test_max_clips_draws_from_the_whole_dataset(root):
    spec = DatasetSpec("walks", data_root=root)
    names = [clip.name for clip in open_dataset(spec).clips]
    some = [clip.name for clip in open_dataset(replace(spec, max_clips=6)).clips]
    assert len(some) == 6
    assert some == [name for name in names if name in some]
    assert len({name.split("/")[-1] for name in some}) > 1
    assert len(open_dataset(replace(spec, max_clips=99)).clips) == 16


def test_data_root_comes_from_the_argument_then_from_the_environment(root, monkeypatch):
    with pytest.raises(
        DataError, match=r"ADAPT_DATA is not set .fix: get the data from example\.org"
    ):
        open_dataset(DatasetSpec("walks"))
    with pytest.raises(DataError, match=r"expected its files under .*elsewhere"):
        open_dataset(DatasetSpec("walks", data_root=root / "elsewhere"))
    monkeypatch.setenv(registry.DATA_ROOT_VARIABLE, str(root))
    assert _print(DatasetSpec("walks")) == _print(DatasetSpec("walks", data_root=root))


def test_files_open_as_source_and_as_target(root):
    data = open_dataset(DatasetSpec("walks", data_root=root, skeleton="h36m17"))
    path = root / "mine.npz"
    files.write_dataset(data, path)
    same = open_dataset(DatasetSpec(str(path), skeleton="h36m17"))
    assert fingerprint(same) == fingerprint(data)
    assert open_target(DatasetSpec(str(path))).skeleton is H36M_16
    assert len(open_target(DatasetSpec(str(path), max_clips=3)).clips) == 3
    with pytest.raises(ConfigError, match="already filmed"):
        open_target(DatasetSpec(str(path), "studio"))
    with pytest.raises(ConfigError, match="not for 2D from"):
        open_target(DatasetSpec(str(path), noise="detector"))
    files.write_dataset(data.as_target().with_skeleton(H36M_16), path)
    with pytest.raises(SkeletonError, match="no neck_nose"):
        open_target(DatasetSpec(str(path), skeleton="h36m17"))
    with pytest.raises(DataError, match="3D is needed here"):
        open_dataset(DatasetSpec(str(path)))
    with pytest.raises(DataError, match=r"none\.npz: no such file"):
        open_target(DatasetSpec(str(root / "none.npz")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "wlks"}, "unknown dataset 'wlks'; did you mean 'walks'"),
        ({"rig": "stdio"}, "unknown rig 'stdio'; did you mean 'studio'"),
        ({"split": "tset"}, "unknown split of 'walks' 'tset'"),
        ({"noise": "detectr"}, "unknown noise 'detectr'; did you mean 'detector'"),
        ({"max_clips": 0}, "at least 1, got 0"),
        ({"frame_rate_hz": 0.0}, "above 0, got 0.0"),
        ({"skeleton": "h36m"}, "unknown skeleton 'h36m'"),
        ({"name": "synthetic-studio", "split": "tset"}, "unknown synthetic split 'tset'"),
        ({"name": "h36m"}, "h36m: expected the files of Human3.6M"),
        ({"format": "openpose"}, "--format: does not concern 'walks'"),
        ({"image_size_px": (640, 480)}, "--size: does not concern 'walks'"),
    ],
)
def test_wrong_specs_are_named(root, changes, message):
    spec = replace(DatasetSpec("walks", data_root=root), **changes)
    with pytest.raises((ConfigError, DataError), match=message):
        open_dataset(spec)


def test_describe_says_what_is_there_and_what_is_not(root):
    infos = {(info.kind, info.name): info for info in catalogue.describe_datasets(root)}
    assert infos["corpus", "walks"].found == root / "walkfolder"
    assert infos["corpus", "walks"].how == "example.org"
    assert infos["published", "3dpw"].found is None
    assert {name for kind, name in infos if kind == "rig"} == set(rigs.RIGS)
    assert {name for kind, name in infos if kind == "synthetic"} == {
        "synthetic-studio",
        "synthetic-field",
    }
    missing = {info.name: info.found for info in catalogue.describe_datasets(root / "elsewhere")}
    assert missing["walks"] is None


def test_synthetic_data_is_marked_and_the_same_everywhere(root, monkeypatch):
    real = synthetic.synthetic_motions

    def few(preset, split, seed, frame_rate_hz):
        return real(preset, split, seed, frame_rate_hz, num_subjects=1)[:3]

    monkeypatch.setattr(synthetic, "synthetic_motions", few)
    spec = DatasetSpec("synthetic-field", split="test", frame_rate_hz=10.0)
    data = open_dataset(spec)
    assert data.synthetic
    assert data.as_target().synthetic
    assert len({clip.camera.split("/")[1] for clip in data.clips}) == 4
    (root / "phone_intrinsics.json").write_text("{}")
    assert _print(replace(spec, data_root=root)) == fingerprint(data)


def test_a_fitted_detector_takes_the_place_of_the_shipped_one(tmp_path):
    save_noise(tmp_path / "same.json", load_noise(), {})
    save_noise(tmp_path / "none.json", DetectorNoise(), {})
    walks = str(walks_file(tmp_path))
    plain, shipped, same, none = (
        open_dataset(DatasetSpec(walks, noise=noise)).clips[0].pose2d
        for noise in ("none", "detector", f"{tmp_path}/same.json", f"{tmp_path}/none.json")
    )
    assert not torch.equal(plain, shipped)
    torch.testing.assert_close(shipped, same, rtol=0, atol=0)
    torch.testing.assert_close(plain, none, rtol=0, atol=1e-6)


def test_a_named_format_is_believed_where_the_content_does_not_tell(tmp_path):
    path = tmp_path / "people.txt"
    path.write_text("nothing that is known\n")
    with pytest.raises(DataError, match="got another kind of file"):
        registry.check_spec(DatasetSpec(str(path)))
    registry.check_spec(DatasetSpec(str(path), format="yolo"))
