"""Training data that is too large for memory: windows that come in banks, one at a time.

Part of the vocabulary: methods train on such sources without knowing where the windows lie.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from adaptpose.clips import Normalisation
from adaptpose.skeleton import Skeleton
from adaptpose.windows import LabelledBank


class WindowSource(ABC):
    """Base of sources that hold ready windows, each a clip of its own with one centre.

    `num_windows` counts them; each has `frames_before` and `frames_after` frames around its
    centre, one frame apart. 2D is in normalised screen coordinates; `normalisation` says how a
    lifter is meant to see it.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What the source is called."""

    @property
    @abstractmethod
    def skeleton(self) -> Skeleton:
        """The joints of the windows."""

    @property
    @abstractmethod
    def normalisation(self) -> Normalisation:
        """How a lifter is meant to see the 2D."""

    @property
    @abstractmethod
    def frames_before(self) -> int:
        """Frames of a window before its centre."""

    @property
    @abstractmethod
    def frames_after(self) -> int:
        """Frames of a window after its centre."""

    num_windows: int

    @abstractmethod
    def banks(self, epoch: int, device: torch.device) -> Iterator[LabelledBank]:
        """All windows once, bank by bank, in an order that depends on the epoch alone."""
