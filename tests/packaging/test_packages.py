"""What is installed is what is in the checkout, and search never pays for training."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fgembed

ROOT = Path(__file__).parents[2]
AT_THE_ROOT = ("cli", "export", "index", "recipes")
TORCH_FREE = ("torch", "torchvision", "safetensors", "onnx", "tensorboard")


def declared() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_list_of_packages_names_every_folder():
    folders = {
        path.parent.relative_to(ROOT)
        for top in ("fgembed", *AT_THE_ROOT)
        for path in (ROOT / top).rglob("*.py")  # does not follow the links
    }
    names = {".".join(folder.parts) for folder in folders}
    installed = {f"fgembed.{n}" if n.split(".")[0] in AT_THE_ROOT else n for n in names}
    setuptools = declared()["tool"]["setuptools"]  # type: ignore[index]
    assert set(setuptools["packages"]) == installed


@pytest.mark.parametrize("name", AT_THE_ROOT)
def test_the_links_lead_to_the_root_folders(name: str):
    link = ROOT / "fgembed" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_the_version_is_said_once():
    assert declared()["project"]["version"] == fgembed.__version__  # type: ignore[index]


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_recipe_and_nothing_at_top_level(
    tracked: list[str], wheel: Path
):
    content = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    expected = {
        f"fgembed/{name}" if name.split("/")[0] in AT_THE_ROOT else name
        for name in tracked
        if name.split("/")[0] in ("fgembed", *AT_THE_ROOT) and not (ROOT / name).is_symlink()
    }
    assert content == expected


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["--version"],
        ["search", "--help"],
        ["index", "build", "--help"],
        ["train", "--help"],
    ],
)
def test_help_loads_no_torch(line: list[str]):
    assert not loaded(line) & {*TORCH_FREE, "faiss", "onnxruntime"}


def test_search_and_index_load_no_torch(index: Path, bundle: Path, photos: Path, tmp_path: Path):
    query = sorted((photos / "test").rglob("*.jpg"))[0]
    page = ["--html", str(tmp_path / "a.html"), "--explain"]
    searching = loaded(["search", str(query), "--index", str(index), *page])
    assert {"faiss", "onnxruntime"} <= searching
    assert not searching & set(TORCH_FREE)
    building = ["index", "build", str(photos / "test"), "--bundle", str(bundle)]
    assert not loaded([*building, "--out", str(tmp_path / "i")]) & set(TORCH_FREE)


def loaded(line: list[str]) -> set[str]:
    """The top-level modules that a command has loaded at its end."""
    code = (
        "import sys\nfrom fgembed.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_fgembed_imports_nothing_else():
    code = "import sys, fgembed; print(*[m for m in sys.modules if m.startswith('fgembed')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = [name for name in done.stdout.split() if not name.startswith("__editable__")]
    assert own == ["fgembed"]


def test_the_protocol_and_its_scores_load_no_torch():
    code = "import sys, fgembed.evaluation.protocol; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
