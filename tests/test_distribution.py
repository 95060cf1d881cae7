"""What is installed: the wheel holds every file of the packages, and everything it needs is pinned."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("holdfast", "serving", "training")


def pins() -> dict[str, str]:
    """The version that constraints.txt pins, by name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def needed(distribution: str, extras: frozenset[str], found: dict[str, list[Requirement]]) -> None:
    """Add what ``distribution[extras]`` needs on this machine, and what that needs, to ``found``."""
    for text in requires(distribution) or []:
        requirement = Requirement(text)
        environments = [{"extra": extra} for extra in extras] or [{"extra": ""}]
        if requirement.marker and not any(map(requirement.marker.evaluate, environments)):
            continue
        name = canonicalize_name(requirement.name)
        seen = found.setdefault(name, [])
        if any(requirement.extras <= each.extras for each in seen):
            seen.append(requirement)
            continue
        seen.append(requirement)
        try:
            needed(name, frozenset(requirement.extras), found)
        except PackageNotFoundError:
            continue  # not on this machine, and so not asked for its own needs


def test_everything_that_is_needed_is_pinned_within_what_is_asked_for() -> None:
    found: dict[str, list[Requirement]] = {}
    needed("holdfast", frozenset({"test"}), found)
    del found["holdfast"]
    assert "torch" in found
    assert "starlette" in found
    assert sorted(found.keys() - pins().keys()) == [], "run: make constraints"
    outside = {
        str(requirement): pins()[name]
        for name, requirements in found.items()
        for requirement in requirements
        if not requirement.specifier.contains(pins()[name], prereleases=True)
    }
    assert outside == {}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (made,) = (source / "dist").glob("*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_three_packages_and_no_other(wheel: Path) -> None:
    packed = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    assert packed == {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}
    assert {"holdfast/py.typed", "serving/py.typed", "training/py.typed"} <= packed
    assert "training/recipes/fs-cifar10.yaml" in packed


def test_the_wheel_carries_the_licence(wheel: Path) -> None:
    archive = ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("/licenses/LICENSE"))
    assert archive.read(name) == (ROOT / "LICENSE").read_bytes()
