"""A small file system in memory, for tests of a disk that is full."""

from __future__ import annotations

import subprocess
from pathlib import Path


def mount_small(path: Path, size_bytes: int) -> bool:
    """Puts one at `path`. False where that is not allowed."""
    path.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path)]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def unmount(path: Path) -> None:
    """Takes it away, if there is one."""
    if path.is_mount():
        subprocess.run(["umount", "-l", str(path)], check=True)
