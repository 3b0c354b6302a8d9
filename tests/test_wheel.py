"""The built wheel in a fresh environment: the mathematics with numpy and scipy alone; what training needs is inside."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return next(out.glob("*.whl"))


def test_wheel_carries_model_recipes_and_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("py.typed", "recipes/countdown.toml", "recipes/countdown-grpo.toml", "models/countdown/config.json"):
        assert f"advshape/{needed}" in names
    sizes = {i.filename: i.file_size for i in zipfile.ZipFile(wheel).infolist()}
    assert sizes["advshape/models/countdown/model.safetensors"] <= 4 * 2**20
    assert not [n for n in names if n.startswith(("tests/", "runs/", "docs/"))]


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory):
    home = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "uv",
            "pip",
            "install",
            "--quiet",
            "--python",
            str(python),
            "-c",
            str(ROOT / "constraints.txt"),
            str(wheel),
        ],
        check=True,
        capture_output=True,
    )
    return python


@pytest.mark.parametrize(
    "words",
    [["estimators"], ["derive", "PassAtK(k=4)", "-n", "8"], ["reverse", "grpo", "-n", "8"], ["--help"]],
    ids=lambda w: w[0],
)
def test_commands_without_torch(fresh, words, tmp_path):
    command = [str(fresh.parent / "advshape"), *words]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout


def test_training_without_the_extra_says_what_to_install(fresh, tmp_path):
    command = [str(fresh.parent / "advshape"), "train", "countdown"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 2
    assert "advshape[trl]" in found.stderr
    assert not list(Path(tmp_path).iterdir())


def test_wheel_trains_from_any_folder(wheel, tmp_path):
    """The wheel's own files, unpacked, with this environment's training stack."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import advshape, advshape.cli.entry as c; "
        "assert 'site' in advshape.__file__; sys.exit(c.main(['train', 'countdown', '--dry-run']))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    assert "pass_at_k" in found.stdout
