"""Text of motion capture files: plain or gzipped, with one message when a file is damaged.

Motion capture is distributed as large text files. The functions here read such a file once, turn
its table of numbers into one array at the speed of a compiled parser, and name the file in errors.
"""

import gzip
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from adaptpose.errors import DataError, expected_message

GZIP_MAGIC = b"\x1f\x8b"
"""First two bytes of every gzip stream, by which a compressed file is known."""


def read_text(path: Path) -> str:
    """The text of a file, unpacked if it is gzipped; DataError if missing, empty or damaged.

    The content decides whether to unpack, not the name. Bytes that are not UTF-8 are read as
    Latin-1, because old exporters wrote folder names in comments in their own encoding.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == GZIP_MAGIC else raw
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read, damaged or cut short ({error})") from error
    except zlib.error as error:
        raise DataError(f"{path}: damaged gzip data ({error})") from error
    if not raw.strip():
        raise DataError(expected_message(str(path), "motion capture text", "an empty file"))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def parse_table(text: str, columns: int, where: Path, sep: str = " ") -> Float[Tensor, "rows c"]:
    """A table of numbers as float64, one row per line; `sep` is "," or " " (any white space).

    DataError naming the file if a row has another number of columns, if something is not a
    number, if a number is missing, NaN or infinite, or if there is no row.
    """
    if not text.strip():
        raise DataError(expected_message(str(where), "rows of numbers", "none"))
    try:
        frame = pd.read_csv(
            io.StringIO(text), sep=r"\s+" if sep == " " else sep, header=None, dtype=np.float64,
            na_values=[], keep_default_na=False, index_col=False,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{where}: not a table of {columns} numbers a row ({reason})") from error
    if frame.shape[1] != columns:
        raise DataError(
            expected_message(str(where), f"{columns} numbers a row", str(frame.shape[1]))
        )
    table = torch.from_numpy(np.array(frame))
    bad = (~torch.isfinite(table)).any(dim=1).nonzero()
    if bad.numel():
        raise DataError(f"{where}: a missing, NaN or infinite number in row {int(bad[0, 0]) + 1}")
    return table
