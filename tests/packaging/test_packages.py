"""What is installed is what is in the checkout, and search never pays for training."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import fgembed

ROOT = Path(__file__).parents[2]
TORCH_FREE = ("torch", "torchvision", "safetensors", "onnx", "tensorboard")


def declared() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_list_of_packages_names_every_folder():
    at_the_root = ("cli", "export", "index", "recipes")
    folders = {
        path.parent.relative_to(ROOT)
        for top in ("fgembed", *at_the_root)
        for path in (ROOT / top).rglob("*.py")  # does not follow the links
    }
    names = {".".join(folder.parts) for folder in folders}
    installed = {f"fgembed.{n}" if n.split(".")[0] in at_the_root else n for n in names}
    setuptools = declared()["tool"]["setuptools"]  # type: ignore[index]
    assert set(setuptools["packages"]) == installed


@pytest.mark.parametrize("name", ["cli", "export", "index"])
def test_the_links_lead_to_the_root_folders(name: str):
    link = ROOT / "fgembed" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name


def test_the_version_is_said_once():
    assert declared()["project"]["version"] == fgembed.__version__  # type: ignore[index]


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_recipe_and_nothing_at_top_level(tmp_path: Path):
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    copy = tmp_path / "source"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True
    ).stdout.split()
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (copy / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, "-w", str(tmp_path), str(copy)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    content = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    expected = {
        f"fgembed/{name}" if name.split("/")[0] in ("cli", "export", "index", "recipes") else name
        for name in files
        if name.split("/")[0] in ("fgembed", "cli", "export", "index", "recipes")
        and not (ROOT / name).is_symlink()
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
