"""What every child process of a supervisor does first."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def follow(parent: int) -> None:
    """Ends this process with SIGTERM when its parent is gone, however that died (prctl(2)).

    Without it, workers of a supervisor that was killed with SIGKILL would keep the port and
    serve on, out of anyone's control. Linux only; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        # It died before we asked to be told.
        os.kill(os.getpid(), signal.SIGTERM)
