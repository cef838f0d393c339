"""The bone lengths of a target's people against those of its figures, for lifters that do not know
them."""

from dataclasses import replace

import pytest
import torch
from pseudo_scenes import SAME, KnowingLifter, walk_clip, walks
from torch import Tensor

from adaptpose.bones import bone_lengths, symmetry_matrix
from adaptpose.camera import project
from adaptpose.clips import PoseData
from adaptpose.constant_bones import with_bone_lengths
from adaptpose.people import find_people
from adaptpose.pseudo import PseudoPoses, lift_target
from adaptpose.pseudo_config import PeopleConfig, PseudoConfig, TransferConfig
from adaptpose.rounds_config import method_config
from adaptpose.rounds_makers import lifted_poses
from adaptpose.runtime import stream
from adaptpose.seen_lengths import size_of
from adaptpose.skeleton import H36M_16
from adaptpose.transfer import TransferMaker, usual_lengths
from adaptpose.windows import build_labelled_bank

CPU = torch.device("cpu")
TRUE = PseudoConfig(tta="none", focal="fixed", focal_fixed=1.5, root_cutoff_hz=0.0)
FEW = PeopleConfig(windows=400, prior_frames=1.0)
FILMED = TransferConfig(bodies=SAME)
CONFIG = replace(method_config("replay"), people=FEW, pseudo=TRUE, transfer=FILMED)


class PrejudicedLifter(KnowingLifter):
    """Knows directions, of the target and of all that is made, and gives all bones one length."""

    def __init__(self, data: PoseData, lengths: Tensor, monkeypatch: pytest.MonkeyPatch):
        super().__init__(data)
        self.lengths = lengths
        self.poses = with_bone_lengths(self.poses, lengths, H36M_16)
        make = TransferMaker.make

        def shown(maker: TransferMaker, count: int, rng: torch.Generator):
            made = make(maker, count, rng)
            self.seen = torch.cat([self.seen, made.pose2d[:, 0]])
            poses = with_bone_lengths(made.pose3d, lengths, H36M_16)
            self.poses = torch.cat([self.poses, poses])
            return made

        monkeypatch.setattr(TransferMaker, "make", shown)


def _built(data: PoseData, factors: dict[str, dict[str, float]]) -> PoseData:
    """The data with bones of each subject made longer, seen again by the same cameras."""
    clips = []
    for clip in data.clips:
        lengths = bone_lengths(clip.pose3d_cam[0], H36M_16).clone()
        for bone, factor in factors[clip.subject].items():
            for name in [n for n in H36M_16.bone_names if n.endswith(bone)]:
                lengths[H36M_16.bone_id(name)] *= factor
        pose = with_bone_lengths(clip.pose3d_cam, lengths, H36M_16)
        seen = project(pose, clip.intrinsics)
        clips.append(replace(clip, pose3d_cam=pose, pose2d=seen))
    return replace(data, clips=tuple(clips))


def _target() -> PoseData:
    clips = [walk_clip(40, 0.7 * k, 1.1, 4.0, speed=0.6 + 0.1 * k) for k in range(8)]
    named = tuple(replace(c, subject="ab"[k % 2], action=f"w{k}") for k, c in enumerate(clips))
    builds = {"a": {"shoulder": 1.25, "ankle": 0.9}, "b": {"hip": 0.7, "head": 1.2}}
    return _built(PoseData("target", H36M_16, named, synthetic=True), builds)


def _lifted(lifter: KnowingLifter, target: PoseData) -> PseudoPoses:
    return lift_target(lifter, target.as_target(), TRUE, stream(0, "p"))


def _shape(lengths: Tensor) -> Tensor:
    """Logarithms of lengths by the body's size, left as right."""
    groups = symmetry_matrix(H36M_16, lengths)
    logs = lengths.log() @ groups.T / groups.sum(dim=1)
    return logs - size_of(lengths, H36M_16).log()[:, None]


def test_people_are_found_whom_the_lifter_takes_for_the_sources(monkeypatch):
    source, target = walks(4, 2), _target()
    bank = build_labelled_bank(source, CPU)
    lifter = PrejudicedLifter(target, usual_lengths(bank), monkeypatch)
    pseudo = _lifted(lifter, target)
    found = find_people(lifter, target.as_target(), pseudo, bank, CONFIG, stream(0, "f"))
    true = torch.stack([bone_lengths(clip.pose3d_cam[0], H36M_16) for clip in target.clips])
    assert found.shape == true.shape
    off = (_shape(found) - _shape(true)).abs()
    prejudice = (_shape(usual_lengths(bank)[None]) - _shape(true)).abs()
    assert float(prejudice.max()) > 0.3
    assert float(off.mean()) < 0.25 * float(prejudice.mean())
    torch.testing.assert_close(found[0], found[2])
    assert not torch.allclose(found[0], found[1])
    lifted_size = size_of(usual_lengths(bank), H36M_16).expand(len(found))
    torch.testing.assert_close(size_of(found, H36M_16), lifted_size, rtol=1e-3, atol=0)


def test_one_pass_more_is_nearer(monkeypatch):
    source, target = walks(4, 2), _target()
    bank = build_labelled_bank(source, CPU)
    true = torch.stack([bone_lengths(clip.pose3d_cam[0], H36M_16) for clip in target.clips])
    off = []
    for passes in (1, 3):
        lifter = PrejudicedLifter(target, usual_lengths(bank), monkeypatch)
        config = replace(CONFIG, people=replace(FEW, passes=passes))
        given = (lifter, target.as_target(), _lifted(lifter, target), bank)
        found = find_people(*given, config, stream(0, "f"))
        off.append(float((_shape(found) - _shape(true)).abs().mean()))
        monkeypatch.undo()
    assert off[1] < off[0] + 0.002


def test_transfer_films_the_sources_motions_with_the_bodies_of_the_targets_people():
    source, target = walks(3, 2), _target()
    bank = build_labelled_bank(source, CPU)
    true = torch.stack([bone_lengths(clip.pose3d_cam[0], H36M_16) for clip in target.clips])
    pseudo = _lifted(KnowingLifter(target), target).with_people(true)
    maker = TransferMaker(bank, pseudo, 0, 0, (2, 2), FILMED)
    made = maker.make(300, stream(1, "t"))
    lengths = bone_lengths(made.pose3d, H36M_16)
    # The source's figures have one body, so every window has that of one of the two people.
    apart = torch.cdist(lengths, true[:2]).min(dim=1)
    assert float(apart.values[made.weight > 0].max()) < 2e-3
    assert set(torch.cdist(lengths, true[:2]).argmin(dim=1).tolist()) == {0, 1}


def test_a_rounds_poses_have_the_bones_that_were_found(monkeypatch):
    source, target = walks(4, 2), _target()
    bank = build_labelled_bank(source, CPU)
    config = replace(CONFIG, refinement="full")
    errors = {}
    for mode in ("lifted", "seen"):
        lifter = PrejudicedLifter(target, usual_lengths(bank), monkeypatch)
        own = replace(config, bone_lengths=mode)
        rng = stream(0, "r")
        _, pseudo = lifted_poses(target.as_target(), lifter, bank, own, rng)
        true = torch.cat([clip.pose3d_cam for clip in target.clips])
        pose = pseudo.pose3d_cam - pseudo.pose3d_cam[:, :1]
        true = true - true[:, :1]
        scale = (pose * true).sum() / (pose * pose).sum()
        errors[mode] = float((scale * pose - true).norm(dim=-1).mean())
        monkeypatch.undo()
    assert errors["seen"] < 0.6 * errors["lifted"]
