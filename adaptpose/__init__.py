"""adaptpose: make a 2D-to-3D pose lifter work on another dataset, from 2D keypoints alone."""

from adaptpose.version import __version__

__all__ = ["__version__"]
