"""Importing the client is quick, and brings nothing that it does not need."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "clients" / "python" / "src"

#: What it may import beside the standard library and itself; numpy and Pillow only inside a function.
ALLOWED = {"anyio", "httpx", "holdfast_client"}
OPTIONAL = {"numpy", "PIL"}


def run(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_import_takes_under_150_ms_of_processor_time() -> None:
    code = "import time; t = time.process_time(); import holdfast_client; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.150


def test_making_a_client_and_encoding_an_image_needs_no_library_for_images_or_models() -> None:
    code = (
        "import sys, holdfast_client as sdk\n"
        "with sdk.Holdfast() as client: sdk.encode_image(b'...')\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'pydantic', 'holdfast', 'serving'} & set(sys.modules)))"
    )
    assert run(code).strip() == "[]"


def test_client_imports_nothing_of_the_rest_of_holdfast() -> None:
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
            assert roots <= ALLOWED | (OPTIONAL if node.__dict__.get("col_offset") else set()), path
