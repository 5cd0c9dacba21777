"""Slurm's controller may be away for minutes, and some commands fail at once instead of waiting for it."""

import subprocess

# For a quarter of an hour; after that the command which needs it says itself what the matter is. One of several
# controllers is enough, whatever the status of scontrol says of the others.
WAIT_FOR_CONTROLLER = (
    "n=0; until ! command -v scontrol || scontrol ping | grep 'is UP' || [ $n = 450 ]; "
    "do n=$((n + 1)); sleep 2; done >/dev/null 2>&1; "
)


def wait_for_controller() -> None:
    """Come back when the controller answers. To be done before ``srun``, which does not ask twice about its job."""
    subprocess.run(["/bin/sh", "-c", WAIT_FOR_CONTROLLER], check=False, stdin=subprocess.DEVNULL)
