"""Scratch: a directory on this machine's own disk, for files that a run reads or writes many times.

``runtime.scratch`` names it. Temporary files go there, and copies of the indexes that are searched, since random reads
of a memory-mapped file are slow over a network. All of it is removed when the run ends; that of a killed run, when the
next one begins.
"""

import os
import shutil
import tempfile
from pathlib import Path

from colbertv2.errors import InputError
from colbertv2.files import atomic_path
from colbertv2.lease import held
from colbertv2.lifetime import move_temporary_files
from colbertv2.refusals import free_disk


def use_scratch(scratch: str) -> None:
    """Put temporary files below ``scratch`` from now on.

    Args:
        scratch: a path; environment variables in it, such as ``$SLURM_TMPDIR``, are read here, on the machine that
            does the work.

    Raises:
        InputError: a variable is not set, or nothing can be written there.
    """
    place = os.path.expandvars(scratch)
    if "$" in place:
        raise InputError(f"runtime.scratch is {scratch!r}, but this machine sets no such variable; name a directory.")
    try:
        move_temporary_files(Path(place))
    except OSError as error:
        raise InputError(
            f"runtime.scratch is {scratch!r}, where this machine can't create a directory ({error.strerror or error}). "
            "Name a directory on its own disk that you may write to, or null."
        ) from None


def local_copy(directory: Path) -> Path:
    """A copy of ``directory`` among the temporary files of this run, made once for all its processes.

    Args:
        directory: with a name of its own, as artifacts have.

    Raises:
        InputError: the copy does not fit.
    """
    place = Path(tempfile.gettempdir())
    copy = place / directory.name
    with held(place / f"{copy.name}.lease", f"the copy of {directory.name}"):
        if not copy.exists():
            size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
            if size > (free := free_disk(place)):
                raise InputError(
                    f"{directory} has {size / 1e6:.1f} MB, but runtime.scratch ({place.parent}) has only "
                    f"{free / 1e6:.1f} MB free. Make space there, name another place, or null to read it where it is."
                )
            with atomic_path(copy) as partial:
                shutil.copytree(directory, partial, dirs_exist_ok=True)
    return copy
