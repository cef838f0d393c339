"""Shared fixtures: where the real data lies, if it is there."""

import os
from pathlib import Path

import pytest


def real_data_root() -> Path | None:
    """The folder of the open corpora: ADAPT_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("ADAPT_DATA", beside))
    return root if root.is_dir() else None


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the open corpora; the test is skipped where they are not."""
    root = real_data_root()
    if root is None:
        pytest.skip("the open motion corpora are not here (set ADAPT_DATA)")
    return root
