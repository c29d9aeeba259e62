"""Opens the files of a job. Anything but a regular file is refused, without waiting for a pipe's writer."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from samplejoin.errors import RefusedError


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading. Raises RefusedError if it is not a regular file, OSError or ValueError as `open`."""
    # without O_NONBLOCK, opening a named pipe blocks until it has a writer
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise RefusedError("is not a regular file", "pipes, devices and directories are not read")
        yield file


def read_small(path: Path, limit_bytes: int) -> bytes:
    """Returns the content. Raises RefusedError if it is over `limit_bytes`, and what `open_regular` raises."""
    with open_regular(path) as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise RefusedError(f"is larger than {limit_bytes >> 10} KiB")
    return content
