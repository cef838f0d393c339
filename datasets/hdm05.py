"""HDM05: short cut-outs of eleven actions by five actors, as ASF/AMC.

Output: joints of `H36M_17` in metres, z up, at 120 Hz. The skeleton is Vicon's Acclaim body, the
same as CMU's original form, and needs no repair.
"""

import re
from pathlib import Path

from adaptpose.datasets.asfamc import read_asf
from adaptpose.datasets.mocap_joints import read_acclaim_h36m
from adaptpose.datasets.motion import Motion
from adaptpose.errors import DataError, expected_message

HDM05_RATE_HZ = 120.0
_NAME = re.compile(r"HDM_(?P<actor>[a-z]+)_(?P<action>\w+?)_(?P<nr>\d+)_120\.amc(\.gz)?")


def read_hdm05_take(path: Path) -> Motion:
    """One take `HDM_<actor>_<action>_<nr>_120.amc` with the actor's ASF beside it."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise DataError(
            expected_message(str(path), "a name HDM_<actor>_<action>_<nr>_120.amc", path.name)
        )
    actor, action = match["actor"], hdm05_action(match["action"])
    skeletons = [path.with_name(f"HDM_{actor}.asf{end}") for end in ("", ".gz")]
    skeleton = next((asf for asf in skeletons if asf.exists()), skeletons[0])
    joints = read_acclaim_h36m(read_asf(skeleton), path)
    return Motion(actor, action, f"{match['action']}_{match['nr']}", HDM05_RATE_HZ, joints)


def hdm05_action(name: str) -> str:
    """The action in lower case and dashes without its count: hopBothLegs1hops -> hop-both-legs."""
    bare = re.sub(r"\d+(Reps|Steps|hops).*", "", name)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", bare).lower()
