"""Right programs are right and wrong ones are wrong, whatever they return, raise, change or leave behind."""

# ruff: noqa: E501  (programs in one line each)
import os
import socket
import threading

import pytest

from advshape.tasks.sandbox.bubblewrap import SandboxUnavailable
from advshape.tasks.sandbox.host import check_sandbox, judge_job
from advshape.tasks.sandbox.limits import Limits
from advshape.tasks.sandbox.user_id import UserId

try:
    check_sandbox()
except SandboxUnavailable as error:
    if os.environ.get("CI"):
        raise
    pytest.skip(str(error), allow_module_level=True)

SMALL = Limits(seconds=10, memory=256, output=1, threads=8, disk=4)


def functions(source, *tests, names=("f",), setup=""):
    return {"kind": "functions", "names": list(names), "setup": setup, "after": "", "tests": tests, "source": source}


def programs(source, *tests):
    return {"kind": "programs", "tests": [list(test) for test in tests], "source": source}


SORT = "assert f(a) == [1, 2] and a == [2, 1]"
CASES = {
    # what the result breaks is the program's fault
    "a loop over an empty result": ("wrong", "def f(x): return []", "for last in f(3): pass\nassert last == 4"),
    "a local that an empty result leaves unbound": (
        "wrong",
        "def f(x): return []",
        "def g():\n    for last in f(3): pass\n    return last\nassert g() == 4",
    ),
    "a result that is no literal": ("wrong", "def f(x): return '('", "import ast\nassert ast.literal_eval(f(3)) == 4"),
    "a result with an unknown name": ("wrong", "def f(x): return 'four'", "assert eval(f(3)) == 4"),
    "an import of a result": ("wrong", "def f(x): return 'no_such'", "import importlib\nimportlib.import_module(f(3))"),
    "a result that is no number": ("wrong", "def f(x): return None", "assert abs(f(3) - 4) < 1e-6"),
    # what the tests break is not
    "a name that nothing defines": ("not_judged", "def f(x): return 4", "assert g(3) == 4"),
    "a module that is not there": ("not_judged", "def f(x): return 4", "import no_such\nassert f(3) == 4"),
    # arguments: changed in place, or the same object
    "an argument destroyed": ("wrong", "def f(x):\n    x.clear(); return [1, 2]", "a = [2, 1]\n" + SORT),
    "an argument left alone": ("right", "def f(x): return sorted(x)", "a = [2, 1]\n" + SORT),
    "the very argument, where a copy is asked": ("wrong", "def f(x): return x", "a = [2]\nassert f(a) is not a"),
    "the very argument": ("right", "def f(x): return x", "a = [2]\nassert f(a) is a"),
    "a copy, where the very argument is asked": ("wrong", "def f(x): return list(x)", "a = [2]\nassert f(a) is a"),
    "sorted in place": ("right", "def f(x): x.sort()", "a = [2, 1]\nf(a)\nassert a == [1, 2]"),
    "a dict changed deep inside": (
        "right",
        "def f(x): x['a'][0].add(3)",
        "d = {'a': [{1}]}\nf(d)\nassert d == {'a': [{1, 3}]}",
    ),
    "one list twice": ("right", "def f(x, y): x.append(1); return len(y)", "a = []\nassert f(a, a) == 1"),
    "a list that comes to hold itself": ("right", "def f(x): x.append(x)", "a = []\nf(a)\nassert a[0] is a"),
    "a list inside its own tuple": ("right", "def f(x): x[0].append(2)", "t = ([1],)\nf(t)\nassert t == ([1, 2],)"),
    "changed before it raises": (
        "right",
        "def f(x):\n    x.append(1)\n    raise KeyError",
        "a = []\ntry:\n    f(a)\nexcept KeyError:\n    pass\nassert a == [1]",
    ),
    # exceptions
    "a subclass of ValueError": (
        "right",
        "class Negative(ValueError): pass\ndef f(x): raise Negative('no')",
        "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
    ),
    "a subclass of two": (
        "right",
        "class Both(KeyError, ValueError): pass\ndef f(x): raise Both",
        "for kind in (KeyError, ValueError, LookupError):\n    try:\n        f(1)\n        assert False\n    except kind:\n        pass",
    ),
    "another exception than asked": (
        "wrong",
        "def f(x): raise TypeError",
        "try:\n    f(-1)\n    assert False\nexcept ValueError:\n    pass",
    ),
    "json's own": (
        "right",
        "import json\ndef f(x): return json.loads(x)",
        "import json\ntry:\n    f('{')\n    assert False\nexcept json.JSONDecodeError:\n    pass",
    ),
    "UnicodeDecodeError": (
        "right",
        "def f(x): return x.decode()",
        "try:\n    f(b'\\xff')\n    assert False\nexcept UnicodeDecodeError:\n    pass",
    ),
    "an exception of the harness": (
        "wrong",
        "class AssertionsPass(Exception): __module__ = 'advshape.tasks.sandbox.inside.ends'\n"
        "AssertionsPass.__qualname__ = 'TestsBroken'\ndef f(x): raise AssertionsPass",
        "assert f(3) == 4",
    ),
    # values
    "Decimal": ("right", "from decimal import Decimal\ndef f(x): return Decimal('2.5')", "assert f(3) == 2.5"),
    "keys": ("right", "def f(x): return {1: 2}.keys()", "assert len(f(3)) == 1 and f(3) == {1}"),
    "values": ("right", "def f(x): return {1: 2, 3: 2}.values()", "assert list(f(3)) == [2, 2]"),
    "items": ("right", "def f(x): return {1: 2}.items()", "assert f(3) == {(1, 2)}"),
    "a date": (
        "right",
        "import datetime\ndef f(x): return datetime.date(2020, 1, 1)",
        "import datetime\nassert f(3) == datetime.date(2020, 1, 1)",
    ),
    "a time with its zone": (
        "right",
        "from datetime import *\ndef f(x): return datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=1)))",
        "from datetime import *\nassert f(3) == datetime(2020, 1, 1, 1, tzinfo=timezone.utc)",
    ),
    "a difference of times": (
        "right",
        "from datetime import *\ndef f(x): return timedelta(-1, 5)",
        "from datetime import *\nassert f(3) == timedelta(-1, 5)",
    ),
    "a date that lies": (
        "wrong",
        "import datetime\nclass Any(datetime.date):\n    def __eq__(self, other): return True\n"
        "def f(x): return Any(2019, 1, 1)",
        "import datetime\nassert f(3) == datetime.date(2020, 1, 1)",
    ),
    "a class with a length": ("right", "class f:\n    def __len__(self): return 1", "assert len(f()) == 1"),
    "a class without one": (
        "right",
        "class f: pass",
        "try:\n    len(f())\n    assert False\nexcept TypeError:\n    pass",
    ),
    "items of a class": ("right", "class f:\n    def __getitem__(self, key): return key + 1", "assert f()[3] == 4"),
    "a false object": ("right", "class f:\n    def __bool__(self): return False", "assert not f()"),
    "text of a class": ("right", "class f:\n    def __str__(self): return 'four'", "assert str(f()) == 'four'"),
    "a generator": ("right", "def f(x):\n    yield 4", "g = f(3)\nassert next(g) == 4\nassert list(g) == []"),
    "equal to everything": ("wrong", "class f:\n    def __eq__(self, other): return True", "assert f() == 4"),
    "smaller than everything": ("wrong", "class f:\n    def __lt__(self, other): return True", "assert f() < 4"),
    "in everything": ("wrong", "class f:\n    def __contains__(self, other): return True", "assert 4 in f()"),
    "near everything": ("wrong", "class f:\n    def __sub__(self, other): return 0", "assert abs(f() - 4) < 1e-6"),
    # what exists inside
    "flock on the host's Python": (
        "right",
        "import fcntl\ndef f():\n    fcntl.flock(open('/python/bin/python3'), 2)",
        "try:\n    f()\n    assert False\nexcept PermissionError:\n    pass",
    ),
    "packages of the system": (
        "wrong",
        "import sys\nsys.path.append('/lib/python3/dist-packages')\nimport yaml, apt\ndef f(): return 4",
        "assert f() == 4",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_functions(name):
    outcome, source, test = CASES[name]
    verdict = judge_job(functions(source, test), SMALL)
    assert verdict.outcome == outcome, verdict


LEAVES = """
import os
x = int(input())
{trick}
print(x + 1 if x == 3 else "no idea")
"""
TRICKS = {
    "a folder in the place of the source": 'os.rename("/box/solution.py", "/box/s"); os.makedirs("/box/solution.py/a"); os.chmod("/box/solution.py", 0)',
    "a folder that nobody may enter": 'os.makedirs("/box/a/b/c"); os.chmod("/box/a/b", 0); os.chmod("/box/a", 0)',
    "a deep folder": 'for _ in range(2000):\n    os.mkdir("d"); os.chdir("d")\nos.chmod(".", 0)',
    "a full disk": 'f = open("/box/x", "wb")\ntry:\n    [f.write(bytes(1000)) for _ in range(9000)]\n    os.fsync(f)\nexcept OSError: pass\ntry: f.close()\nexcept OSError: pass',
    "no file left": 'try:\n    [os.symlink("x" * 200, f"/box/{n}") for n in range(99999)]\nexcept OSError: pass',
    "strange names": 'open("/box/\\udcff\\n", "w"); os.mkdir("/box/-rf"); os.symlink("/", "/box/up")',
    "the box itself": 'try: os.chmod("/box", 0)\nexcept OSError: pass',
}


@pytest.mark.parametrize("trick", TRICKS)
def test_what_a_program_leaves_behind_changes_no_verdict(trick):
    source = LEAVES.format(trick=TRICKS[trick])
    assert judge_job(programs(source, ("3", "4"), ("3", "4")), SMALL).outcome == "right"
    verdict = judge_job(programs(source, ("3", "4"), ("5", "6")), SMALL)
    assert (verdict.outcome, verdict.reason) == ("wrong", "test 2: printed 'no idea', expected '6'")


def test_each_input_finds_an_empty_box():
    source = (
        "import os\nprint(sorted(os.listdir('/box')))\nos.makedirs('/box/k/l')\nopen('/box/k/n', 'w')\n"
        "os.chmod('/box/k', 0)"
    )
    assert judge_job(programs(source, *[("", "['solution.py']")] * 3), SMALL).outcome == "right"


def test_files_are_limited():
    source = (
        "import os\ndef f():\n    n = 0\n    try:\n        while True:\n            os.symlink('t' * 120, f'/box/{n}')\n"
        "            n += 1\n    except OSError:\n        return n"
    )
    few = Limits(seconds=10, memory=256, files=500)
    assert judge_job(functions(source, "assert 400 < f() < 500"), few).outcome == "right"


def test_asynchronous_io_takes_no_slots_of_the_machine():
    source = (
        "import ctypes, platform\ndef f():\n    number = {'x86_64': 206, 'aarch64': 0}[platform.machine()]\n"
        "    c = ctypes.c_ulong(0)\n"
        "    return ctypes.CDLL(None).syscall(number, ctypes.c_long(1000), ctypes.byref(c))"
    )
    assert judge_job(functions(source, "assert f() == -1"), SMALL).outcome == "right"


def test_user_ids_are_never_shared():
    """More at once than the 64 numbers that once were taken in turn; and by another process's choice too."""
    living = [UserId() for _ in range(500)]
    assert len({user.number for user in living}) == 500
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(f"\0advshape-sandbox-{living[0].number}")
    number = living[0].number
    for user in living:
        user.release()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0advshape-sandbox-{number}")


def test_a_program_with_all_its_threads_takes_none_from_another():
    hog = (
        "import threading, time\nthreading.stack_size(65536)\ndef f():\n    try:\n        while True:\n"
        "            threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n"
        "    except RuntimeError:\n        time.sleep(8)"
    )
    honest = (
        "import threading\ndef f():\n    t = threading.Thread(target=int)\n    t.start()\n    t.join()\n    return 4"
    )
    running = threading.Thread(target=judge_job, args=(functions(hog, "f()"), Limits(seconds=9, threads=32)))
    running.start()
    try:
        for _ in range(64):
            UserId().release()
        found = [judge_job(functions(honest, "assert f() == 4"), Limits(threads=4)).outcome for _ in range(20)]
    finally:
        running.join()
    assert found == ["right"] * 20
