"""The peers of the gateway: how each is started, asked and read.

What runs in their environments is in ``peers/``, a file each, written as the peer's documentation advises;
the environments are made by ``peer_environments.py``.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from peers.work import Plan
from servers import TORCHSERVE, environment, free_port

from serving.torchserve.errors import TorchServeError
from serving.torchserve.java import find_java

ROOT = Path(__file__).resolve().parents[1]
APPS = ROOT / "benchmarks" / "peers"
#: Where the environments are, unless another place is named.
ENVIRONMENTS = ROOT / ".venv-peers"

MAX_BATCH = 16


class Layout(NamedTuple):
    """How a peer spreads the model over the machine.

    Attributes:
        workers: Processes that run it; 0 is the server's own.
        threads: Of the session in each.
        delay: Seconds that a request may be held back for company.
    """

    workers: int
    threads: int
    delay: float

    def describe(self) -> str:
        """In words."""
        where = f"{self.workers} × {self.threads}" if self.workers else f"in process × {self.threads}"
        return f"{where}, {self.delay * 1000:g} ms" if self.delay else where


class Answer(NamedTuple):
    """A peer's answer for one image: the class's name, and the probability of each in the model's order."""

    label: str
    chances: list[float]


def raw(content: bytes, media_type: str) -> tuple[str, bytes]:
    """An image as a request's body."""
    return media_type, content


def in_json(wrap: Callable[[str], Any]) -> Callable[[bytes, str], tuple[str, bytes]]:
    """An image as base64 in JSON, around which ``wrap`` puts what a server wants."""

    def encode(content: bytes, _media_type: str) -> tuple[str, bytes]:
        return "application/json", json.dumps(wrap(base64.b64encode(content).decode())).encode()

    return encode


def read_answer(answer: Any) -> Answer:
    """An answer of ``peers.work``; of a list the only one."""
    found = answer[0] if isinstance(answer, list) else answer
    return Answer(found["label"], list(found["probabilities"].values()))


def read_gateway(answer: Any) -> Answer:
    """An answer of the gateway."""
    return read_answer(answer["predictions"])


def read_protocol(answer: Any) -> Answer:
    """An answer in the Open Inference Protocol."""
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    return Answer(outputs["label"][0], outputs["probabilities"])


@dataclass(frozen=True)
class Peer:
    """A server that is measured beside the gateway.

    Attributes:
        name: What to call it.
        package: Its distribution.
        path: What is asked.
        encode: A request's content type and body for an image's bytes and media type.
        read: The answer out of the JSON that it gives.
        command: From its Python, a folder of its own and the plan to the command that starts it.
        own_environment: Whether it has one; otherwise it runs in this Python's.
        delays: Seconds to try for the wait for a batch, the shortest that make sense; 0 where it needs none.
        in_process: Whether it can run the model in the server's own process.
        settings: Environment variables, for what its documentation sets so.
    """

    name: str
    package: str
    path: str
    encode: Callable[[bytes, str], tuple[str, bytes]]
    command: Callable[[Path, Path, Plan], Sequence[str | Path]]
    read: Callable[[Any], Answer] = read_answer
    own_environment: bool = True
    delays: tuple[float, ...] = (0.0,)
    in_process: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name as a file's."""
        return self.name.lower().replace(" ", "-")

    def python(self, environments: Path) -> Path:
        """The interpreter that it runs in."""
        if not self.own_environment:
            return Path(sys.executable)
        return environments / self.key / "bin" / "python"

    def missing(self, environments: Path) -> str:
        """Why it cannot be measured here; empty where it can."""
        if self.own_environment and not self.python(environments).is_file():
            return f"there is no {environments / self.key}"
        if not self.version(environments):
            return f"{self.package} is not installed"
        return _no_torchserve() if self.name == TORCHSERVE else ""

    def version(self, environments: Path) -> str:
        """The version that is installed; empty where none is."""
        code = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        command = [str(self.python(environments)), "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
        return done.stdout.strip() if done.returncode == 0 else ""

    def layouts(self, cores: int) -> list[Layout]:
        """Ways to use a machine of so many cores, all of them with that many threads in sum."""
        workers = {1, cores} | ({2} if cores % 2 == 0 else set()) | ({0} if self.in_process else set())
        spread = [(count, cores // max(1, count)) for count in sorted(workers)]
        return [Layout(count, threads, delay) for count, threads in spread for delay in self.delays]

    def environment(self, plan: Plan, folder: Path) -> dict[str, str]:
        """The environment of its process.

        Args:
            plan: How it is to run.
            folder: Its own, for what it writes.
        """
        paths = {"PYTHONPATH": f"{APPS}:{ROOT}", "HOME": str(folder), "TMPDIR": str(folder)}
        return environment() | paths | dict(self.settings) | plan.as_environment()


def _app(name: str) -> Callable[[Path, Path, Plan], list[str | Path]]:
    """A command that runs a file of ``peers/``."""
    return lambda python, _folder, _plan: [python, APPS / name]


def _bentoml(python: Path, _folder: Path, plan: Plan) -> list[str | Path]:
    address = ("--host", "127.0.0.1", "--port", str(plan.port))
    return [python, "-m", "bentoml", "serve", "bentoml_app:Classifier", "--working-dir", APPS, *address]


def _mlserver(python: Path, folder: Path, plan: Plan) -> list[str | Path]:
    server = {
        "host": "127.0.0.1",
        "http_port": plan.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": plan.workers,
    }
    model = {
        "name": "classifier",
        "implementation": "mlserver_app.Classifier",
        "max_batch_size": plan.max_batch,
        "max_batch_time": plan.delay,
    }
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))
    return [python.parent / "mlserver", "start", folder]


def _torchserve(python: Path, _folder: Path, _plan: Plan) -> list[str | Path]:
    return [python, APPS / "torchserve_app.py", str(free_port()), str(free_port()), find_java().path]


def _no_torchserve() -> str:
    for module in ("ts", "model_archiver", "psutil", "yaml"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    try:
        find_java()
    except TorchServeError as error:
        return error.message
    return ""


def _protocol_request(image: str) -> dict[str, Any]:
    parameters = {"content_type": "base64"}
    tensor = {"name": "image", "shape": [1, 1], "datatype": "BYTES", "parameters": parameters}
    return {"inputs": [{**tensor, "data": [image]}]}


PEERS = (
    Peer(
        TORCHSERVE,
        "torchserve",
        "/predictions/classifier",
        raw,
        _torchserve,
        own_environment=False,
        delays=(0.001,),
    ),
    Peer(
        "LitServe",
        "litserve",
        "/predict",
        in_json(lambda image: {"image": image}),
        _app("litserve_app.py"),
        # Without a delay its workers ask for requests without pause, and take a core each for it.
        delays=(0.001,),
    ),
    Peer(
        "BentoML",
        "bentoml",
        "/classify",
        in_json(lambda image: {"images": [image]}),
        _bentoml,
        settings={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Peer(
        "Ray Serve",
        "ray",
        "/classify",
        raw,
        _app("ray_app.py"),
        settings={"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    ),
    Peer(
        "MLServer",
        "mlserver",
        "/v2/models/classifier/infer",
        in_json(_protocol_request),
        _mlserver,
        read_protocol,
        delays=(0.001, 0.005),
        in_process=True,
    ),
)
