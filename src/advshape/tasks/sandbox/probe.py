"""A program that tries to get past each limit of the sandbox, and the tests that say it failed."""

from __future__ import annotations

from typing import Any

__all__ = ["PROBE"]

PROBE: dict[str, Any] = {
    "kind": "functions",
    "names": ["probe"],
    "setup": "",
    "after": "",
    "tests": [
        "result = probe()",
        "assert result['processes'] == 'PermissionError', result['processes']",
        "assert result['signals'] == 'PermissionError', result['signals']",
        "assert 1 <= result['threads'] <= 8 + 4, result['threads']",
        "assert result['memory'] == 'MemoryError', result['memory']",
        "assert result['root'] in ('PermissionError', 'OSError'), result['root']",
        "assert result['network'] == 'PermissionError', result['network']",
        "import socket\nfound = {name for _, name in socket.if_nameindex()}\nassert found <= {'lo'}, found",
        "assert result['write'] == 'OSError', result['write']",
        "assert result['files'] <= 4096, result['files']",
        "assert not set(result['see']) - set('box dev etc harness lib lib64 python tmp usr'.split()), result['see']",
    ],
    "source": """
import os, signal, socket, threading, time

def attempt(action):
    try:
        action()
    except (Exception, MemoryError) as error:
        return "PermissionError" if isinstance(error, PermissionError) else (
            "OSError" if isinstance(error, OSError) else type(error).__name__)
    return "done"

def threads():
    release, started = threading.Event(), []
    threading.stack_size(65536)
    try:
        for _ in range(64):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        release.set()
    for thread in started:
        thread.join()
    return len(started)

def files():
    made = 0
    try:
        for made in range(100_000):
            os.symlink("x", f"/box/{made}")
    except OSError:
        pass
    return made

def probe():
    return {
        "processes": attempt(lambda: os.fork() or os._exit(0)),
        "signals": attempt(lambda: os.kill(os.getppid(), 0)),
        "threads": threads(),
        "memory": attempt(lambda: bytearray(512 * 2**20)),
        "root": attempt(lambda: os.setuid(0)),
        "network": attempt(socket.socket),
        "write": attempt(lambda: open("/escape", "w")),
        "see": sorted(os.listdir("/")),
        "files": files(),
    }
""",
}
