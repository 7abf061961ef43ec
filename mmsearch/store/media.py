"""What kind of place a folder lies on: may it be written, is it across a network."""

from __future__ import annotations

import os
from pathlib import Path

# SQLite's WAL needs memory that all processes with the file open share; these cannot share it between hosts.
NETWORK_TYPES = frozenset(
    {
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "fuse.ceph", "fuse.glusterfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2",
        "pvfs2", "smb3", "smbfs", "sshfs",
    }
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")


def writable(folder: Path) -> bool:
    """Whether files may be made in ``folder``; false on read-only media also for root."""
    return os.access(folder, os.W_OK | os.X_OK)


def network_type(folder: Path, mounts: Path = _MOUNTS) -> str | None:
    """The name of the network file system that ``folder`` lies on, or ``None``; ``None`` too where the system does not tell.

    Reads one small file of the kernel (Linux). The mount that covers the folder is the longest mount point above it.
    """
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return None
    target = os.fsencode(os.path.realpath(folder))
    best, kind = b"", b""
    for line in lines:
        before, _, after = line.partition(b" - ")
        point = _unescape(before.split(b" ")[4])
        inside = target == point or target.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(best):  # a later mount on the same point hides the earlier one
            best, kind = point, after.split(b" ")[0]
    name = kind.decode("ascii", "replace")
    return name if name in NETWORK_TYPES else None


def _unescape(field: bytes) -> bytes:
    for escaped, plain in ((rb"\040", b" "), (rb"\011", b"\t"), (rb"\012", b"\n"), (rb"\134", b"\\")):
        field = field.replace(escaped, plain)
    return field
