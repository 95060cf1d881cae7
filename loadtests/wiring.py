"""What happens when: locust's events, on a process alone, on a master, and on its workers.

- At the start (``init``) the process that leads the run settles the options and refuses what is not to be
  loaded.
- When users are about to be started (``test_start``), each process that has some asks the gateway what it
  serves. Workers have their options from the master by then.
- Every second (``report_to_master``) workers hand over what they have counted.
- In the end (``quitting``) the process that leads the run holds it against its thresholds, which decide on
  the exit code, and prints what it came to after locust's own tables (``quit``).
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import gevent
import locust.runners
from gevent.lock import RLock
from locust.env import Environment
from locust.exception import StopTest
from locust.runners import MasterRunner, WorkerRunner

from loadtests import session
from loadtests.load_shape import begin_run
from loadtests.options import add_options, read_options
from loadtests.summary import Summary, summarise
from loadtests.target import TargetError, find_target
from loadtests.users.base import GatewayUser

logger = logging.getLogger("holdfast.loadtest")

#: The exit code where there was nothing to measure; thresholds have locust's --exit-code-on-error.
_NOTHING = 2
_REPORT_SECONDS = 1.0
_LIVENESS = 20
_preparing = RLock()


def connect(events: Any) -> None:
    """Take part in locust's events."""
    # The master ends a stage, and a run, by what it knows: it should be of this second.
    locust.runners.WORKER_REPORT_INTERVAL = _REPORT_SECONDS
    # Where the load is on the same machine, a worker may be slow to say that it lives.
    locust.runners.HEARTBEAT_LIVENESS = _LIVENESS
    finished: list[Summary] = []

    def on_quitting(environment: Environment, **_: Any) -> None:
        _conclude(environment, finished)

    def on_quit(**_: Any) -> None:
        for summary in finished:
            _deliver(summary)

    events.init_command_line_parser.add_listener(lambda parser, **_: add_options(parser))
    events.init.add_listener(_on_init)
    events.test_start.add_listener(_on_start)
    events.test_stop.add_listener(_on_stop)
    events.report_to_master.add_listener(_on_report)
    events.worker_report.add_listener(_on_worker_report)
    events.quitting.add_listener(on_quitting)
    events.quit.add_listener(on_quit)


def _is_worker(environment: Environment) -> bool:
    return isinstance(environment.runner, WorkerRunner)


def _on_init(environment: Environment, **_: Any) -> None:
    _prepare(environment)
    if _is_worker(environment):
        return
    try:
        begin_run(environment)
    except ValueError as error:
        logger.error("%s", error)  # noqa: TRY400  it is said in words
        sys.exit(_NOTHING)
    # Users without a task left would fail one by one; locust leaves out tasks only when users start.
    environment._filter_tasks_by_tags()
    environment.user_classes[:] = [each for each in environment.user_classes if each.tasks]
    if not environment.user_classes:
        logger.error("No user has a task with these tags.")
        sys.exit(_NOTHING)


def _prepare(environment: Environment) -> None:
    """Make what the users of this process need.

    In another thread, while this one waits: a worker that does not say that it lives counts as dead.
    """
    if isinstance(environment.runner, MasterRunner):
        return
    with _preparing:
        for each in environment.user_classes:
            if issubclass(each, GatewayUser):
                gevent.get_hub().threadpool.apply(each.prepare)


def _on_start(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, MasterRunner):
        return
    _prepare(environment)  # a master does not wait until its workers have
    parsed = environment.parsed_options
    if _is_worker(environment):
        assert parsed is not None
        session.begin(environment, read_options(parsed))
    run = session.of(environment)
    try:
        run.target = find_target(environment.host or "", run.options.model)
    except TargetError as error:
        run.error = str(error)
        raise StopTest(run.error) from None
    logger.info("Load on %s, model %s/%s", run.target.url, run.target.model.name, run.target.model.version)


def _on_stop(environment: Environment, **_: Any) -> None:
    run = session.find(environment)
    if run is not None and not _is_worker(environment):
        run.course.stop()


def _on_report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    del client_id
    for run in session.all_of_this_process():
        data["holdfast"] = {"ledger": run.ledger.take(), "memory": run.memory.take(), "error": run.error}


def _on_worker_report(client_id: str, data: dict[str, Any], **_: Any) -> None:
    del client_id
    report: Any = data.get("holdfast")
    if report is None:  # it has not begun
        return
    for run in session.all_of_this_process():
        run.ledger.merge(report["ledger"])
        run.memory.merge(report["memory"])
        run.error = run.error or report["error"]


def _conclude(environment: Environment, finished: list[Summary]) -> None:
    run, runner, parsed = session.find(environment), environment.runner, environment.parsed_options
    if run is None or runner is None or parsed is None:
        return
    if _is_worker(environment):
        environment.process_exit_code = _NOTHING if run.error else 0
        return
    summary = summarise(run)
    for row in runner.exceptions.values():
        summary.faults.append(f"A user broke down, {row['count']} times: {row['msg']}")
    finished.append(summary)
    failed = _NOTHING if run.error else parsed.exit_code_on_error
    environment.process_exit_code = failed if summary.faults else 0


def _deliver(summary: Summary) -> None:
    sys.stdout.write(summary.as_text())
    path = summary.options.summary_json
    if path:
        text = json.dumps(summary.as_json(), indent=1) + "\n"
        if path == "-":
            sys.stdout.write(text)
        else:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
    sys.stdout.flush()
