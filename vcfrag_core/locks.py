"""Locks of open files, by which one process tells whether another lives."""

from __future__ import annotations

import errno
import fcntl

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


def take_lock(file: int) -> bool | None:
    """Takes the lock of an open file, which is held until it is closed, or the process ends in whatever way.

    Returns:
        Whether it was free; None where the file system has no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True
