"""A missing trainer, an unknown version, a changed signature: through the commands, one sentence and exit code 2 each.

behaviour; trainers are stood in for by folders with a version and as little code as the command reaches.
"""

import os
import subprocess
import sys

import pytest

from advshape.audit.names import TRAINERS
from advshape.cli import main

SKYRL = {  # what the launcher imports, with a function that takes something else
    "ray.py": "",
    "skyrl/train/config.py": "class SkyRLTrainConfig:\n"
    "    trainer = type('t', (), {'algorithm': type('a', (), {'advantage_estimator': 'advshape/rloo'})})\n"
    "    from_cli_overrides = classmethod(lambda cls, words: cls)\n",
    "skyrl/train/entrypoints/main_base.py": "skyrl_entrypoint = None",
    "skyrl/train/utils/__init__.py": "validate_cfg = None",
    "skyrl/train/utils/utils.py": "initialize_ray = None",
    "skyrl/backends/skyrl_train/utils/ppo_utils.py": "def compute_advantages_and_returns(rewards, mask): ...",
}
SWIFT = {
    "swift/rl_core/advantage.py": "def compute_advantages(rewards):\n"
    "    '''advantage_estimator: 'grpo' or 'rloo'\n    scale_rewards: 'group' or 'none' '''"
}


def stand_in(folder, distribution, version, files):
    """A trainer that is nothing but a version and these files."""
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def refusal(folder, *words):
    """The one sentence with which `python -m WORDS` ends; exit code 2."""
    path = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    given = {**os.environ, "PYTHONPATH": path, "ADVSHAPE": "rloo"}
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, env=given, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("name", ["skyrl", "openrlhf"])
def test_a_launcher_without_its_trainer(tmp_path, name):
    if TRAINERS[name][0] in os.environ.get("PYTHONPATH", ""):
        pytest.skip("the trainer is here")
    said = refusal(tmp_path, f"advshape.adapters.{name}")
    assert said.startswith(f"advshape: {name} is not installed for this Python; install version 0.")


@pytest.mark.parametrize("name", ["skyrl", "openrlhf"])
def test_a_launcher_with_an_unknown_version(tmp_path, name):
    stand_in(tmp_path, name, "0.9.9", {})
    said = refusal(tmp_path, f"advshape.adapters.{name}")
    assert said.startswith(f"advshape: {name} 0.9.9 is not a version this adapter was proven with (version 0.")


def test_a_launcher_with_a_changed_signature(tmp_path):
    stand_in(tmp_path, "skyrl", "0.3.7", SKYRL)
    said = refusal(tmp_path, "advshape.adapters.skyrl")
    assert said.startswith(
        "advshape: skyrl's compute_advantages_and_returns takes (rewards, mask), expected (token_level_rewards,"
    )


@pytest.mark.parametrize("scheme", sorted(set(TRAINERS) - {"trl"}))
def test_reverse_without_the_trainer(scheme, capsys):
    assert main(["reverse", f"{scheme}:grpo"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"advshape: {TRAINERS[scheme][0]} is not installed for {sys.executable}: give --python PATH")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "ms-swift 5.0.0 could not be imported as swift.rl_core.advantage"),
        ({"swift/rl_core/advantage.py": ""}, "ms-swift 5.0.0 does not have its advantages where they were (module"),
        (SWIFT, "compute_advantages() got an unexpected keyword argument 'reward_weights'"),
    ],
)
def test_reverse_with_a_version_whose_code_has_moved_or_changed(tmp_path, files, said):
    stand_in(tmp_path, "ms-swift", "5.0.0", files)
    assert said in refusal(tmp_path, "advshape", "reverse", "swift:grpo")
