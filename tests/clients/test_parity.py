"""The two clients are one: the synchronous one is written from the asynchronous one, and offers the same."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import holdfast_client as sdk

CLIENT = Path(__file__).parents[2] / "clients" / "python"

PAIRS = [
    (sdk.Holdfast, sdk.AsyncHoldfast),
    *(
        (type(getattr(sdk.Holdfast("http://127.0.0.1:1"), name)), type(getattr(sdk.AsyncHoldfast(), name)))
        for name in ("jobs", "models", "attacks")
    ),
]


def public(kind: type) -> dict[str, Any]:
    members = {name: each for name, each in vars(kind).items() if inspect.isfunction(each)}
    return {name.replace("aclose", "close"): each for name, each in members.items() if name[0] != "_"}


def test_synchronous_client_is_what_would_be_written() -> None:
    done = subprocess.run(
        [sys.executable, str(CLIENT / "scripts" / "unasync.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("sync", "other"), PAIRS, ids=lambda kind: kind.__name__)
def test_both_offer_the_same_methods_with_the_same_arguments(sync: type, other: type) -> None:
    assert list(public(sync)) == list(public(other))
    for name, method in public(sync).items():
        twin = public(other)[name]
        assert list(inspect.signature(method).parameters.values()) == list(
            inspect.signature(twin).parameters.values()
        )
        returned = inspect.signature(twin).return_annotation.replace("AsyncIterator", "Iterator")
        assert inspect.signature(method).return_annotation == returned
        assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin)
        assert not inspect.iscoroutinefunction(method)


@pytest.mark.parametrize("kind", [each for pair in PAIRS for each in pair], ids=lambda kind: kind.__name__)
def test_every_method_is_explained_by_its_use(kind: type) -> None:
    for name, method in public(kind).items():
        assert method.__doc__, name
        if name not in ("close", "aclose"):
            assert ">>> " in method.__doc__, name


def test_what_is_exported_is_sorted_and_all_there() -> None:
    names = [name for name in sdk.__all__ if name != "__version__"]
    assert names == sorted(names)
    public_names = {name for name in vars(sdk) if not name.startswith("_")}
    assert set(names) == {name for name in public_names if not inspect.ismodule(getattr(sdk, name))}


def test_every_error_is_in_the_tree_that_the_module_draws() -> None:
    from holdfast_client import _errors

    drawn = set(re.findall(r"``(\w+Error)``", _errors.__doc__ or ""))
    there = {name for name, each in vars(_errors).items() if inspect.isclass(each) and name.endswith("Error")}
    assert there == {name for name in drawn if hasattr(_errors, name)}
    assert {name for name in sdk.__all__ if name.endswith("Error")} == there


def test_changelog_and_package_are_of_one_version() -> None:
    changelog = (CLIENT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == sdk.__version__
