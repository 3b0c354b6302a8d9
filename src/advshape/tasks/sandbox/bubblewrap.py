"""bubblewrap's command line: what exists inside a sandbox, and which rights its first process has."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from advshape.errors import AdvshapeError
from advshape.tasks.sandbox.limits import Limits

__all__ = ["HOW_TO_GET", "SandboxUnavailable", "command"]

INSIDE = Path(__file__).parent / "inside"


START = "import sys; sys.path.insert(0, '/harness'); from advshape.tasks.sandbox.inside.harness import main; main()"


HOW_TO_GET = (
    "install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap) on Linux; in a container it needs the right "
    "to make namespaces (docker run --cap-add SYS_ADMIN --security-opt seccomp=unconfined --security-opt "
    "apparmor=unconfined); programs are never run without a sandbox"
)


class SandboxUnavailable(AdvshapeError):
    """No sandbox can be made here; the message says why and what to do."""


def command(limits: Limits, uid: int | None) -> list[str]:
    """bubblewrap's command line.

    As root (with a ``uid``) there is no user namespace: the harness gives up root for that user id, which
    RLIMIT_NPROC binds; a root that is only renamed inside a user namespace would be bound by nothing. As anybody
    else bubblewrap makes a user namespace, in which the kernel (5.14 and later) counts tasks apart. Either way the
    harness drops the rights it is given here before it reads the job.
    """
    given = ["CAP_SYS_ADMIN"] if uid is None else ["CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID"]
    rights = [word for name in given for word in ("--cap-add", name)]
    if uid is None:
        rights += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    apart = (
        "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try --die-with-parent --new-session"
    )
    environment = [word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)]
    inside = ["/python/bin/python3", "-s", "-P", "-B", "-c", START, json.dumps(asdict(limits)), json.dumps(uid)]
    places = [*what_exists(), "--remount-ro", "/", "--chdir", "/box"]
    return [
        *(find_bubblewrap(), *rights, *apart.split(), "--die-with-parent", "--new-session"),
        *("--hostname", "sandbox", "--clearenv", *environment, *places, "--", *inside),
    ]


ENVIRONMENT = {
    "HOME": "/box",
    "PATH": "/python/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "LD_LIBRARY_PATH": "/python/lib",
}


def what_exists() -> list[str]:
    """bubblewrap's options for all that exists inside: system libraries, Python, the harness, devices, a box."""
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    prefix = Path(sys.base_prefix)
    library = prefix / ("lib" if (prefix / "lib").is_dir() else "lib64")
    options: list[str] = []
    place = "harness/advshape/tasks/sandbox"
    parents = [str(folder) for folder in reversed(Path(place).parents[:-1])]
    for folder in ("dev", "etc", *parents, place, "python", "python/bin"):
        options += ["--perms", "0755", "--dir", f"/{folder}"]
    for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"):
        options += ["--ro-bind-try", name, name]
    options += ["--ro-bind", executable, "/python/bin/python3", "--ro-bind", str(library), f"/python/{library.name}"]
    for folder in packages(library):
        options += ["--tmpfs", folder, "--remount-ro", folder]
    for name in ("null", "zero", "full", "random", "urandom"):
        options += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    options += ["--ro-bind", str(INSIDE), f"/{place}/inside"]
    options += ["--dir", "/box", "--symlink", "box", "/tmp"]  # the harness mounts the box: see mount_box
    return options


def packages(library: Path) -> list[str]:
    """Folders of installed packages, as seen inside: hidden, since they may hold a data set with its answers.

    Only the standard library is left, so that a verdict does not depend on what is installed.
    """
    found = []
    system = [(Path(name), name) for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64")]
    for root, seen in ((library, f"/python/{library.name}"), *system):
        for kind in ("site-packages", "dist-packages"):
            found += [f"{seen}/{place.relative_to(root)}" for place in root.glob(f"python3*/{kind}")]
    return sorted(set(found))


def find_bubblewrap() -> str:
    """The path of ``bwrap``; raises SandboxUnavailable where there is none."""
    found = shutil.which("bwrap")
    if platform.system() != "Linux" or found is None:
        raise SandboxUnavailable(f"judging programs needs a sandbox, and there is no bwrap here; {HOW_TO_GET}")
    return found
