"""Skeletons: derived tables against the published ones, maps by name."""

import pytest

from adaptpose.errors import SkeletonError
from adaptpose.skeleton import H36M_16, H36M_17, H36M_17_LEFT_FIRST, joint_map, skeleton_by_name


def test_h36m17_matches_the_published_tables():
    assert H36M_17.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert H36M_17.left == (4, 5, 6, 11, 12, 13)
    assert H36M_17.right == (1, 2, 3, 14, 15, 16)


def test_h36m16_matches_the_published_tables():
    assert H36M_16.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14)
    assert H36M_16.left == (4, 5, 6, 10, 11, 12)
    assert H36M_16.right == (1, 2, 3, 13, 14, 15)


def test_parts_match_the_published_bones():
    parts = H36M_16.parts
    assert parts["left_arm"] == (7, 9, 10, 11)
    assert parts["right_arm"] == (7, 12, 13, 14)
    assert sorted(parts["right_leg"]) == [0, 1, 2, 3, 6]
    assert sorted(parts["left_leg"]) == [0, 3, 4, 5, 6]
    assert sorted(parts["torso"]) == [0, 3, 6, 7, 8, 9, 12]


def test_left_first_order_maps_as_published():
    table = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    assert joint_map(H36M_17_LEFT_FIRST, H36M_17).complete_index() == table
    dropped = [0, 4, 5, 6, 1, 2, 3, 7, 8, 10, 11, 12, 13, 14, 15, 16]
    assert joint_map(H36M_17_LEFT_FIRST, H36M_16).complete_index() == dropped
    assert joint_map(H36M_17, H36M_16).complete_index() == [*range(9), *range(10, 17)]


def test_missing_joints_are_explicit():
    there = joint_map(H36M_16, H36M_17)
    assert there.missing == ("neck_nose",)
    with pytest.raises(SkeletonError, match="has no neck_nose"):
        there.complete_index()


@pytest.mark.parametrize("skeleton", [H36M_16, H36M_17, H36M_17_LEFT_FIRST])
def test_mirror_is_an_involution(skeleton):
    assert [skeleton.mirror[i] for i in skeleton.mirror] == list(range(skeleton.num_joints))
    assert [skeleton.bone_mirror[i] for i in skeleton.bone_mirror] == list(
        range(skeleton.num_bones)
    )


def test_unknown_names_say_the_nearest():
    with pytest.raises(SkeletonError, match="did you mean 'left_knee'"):
        H36M_16.id("left_kne")
    with pytest.raises(SkeletonError, match="did you mean 'h36m16'"):
        skeleton_by_name("h36m_16")
