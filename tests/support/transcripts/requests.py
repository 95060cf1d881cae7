"""Which requests a command with curl in it makes."""

from __future__ import annotations

import re

from support.transcripts.markdown import Step

_CALL = re.compile(r"\bcurl\s(?:[^|;'\"]|'[^']*'|\"[^\"]*\")*")
_ADDRESS = re.compile(r"(?:https?://)?(?:127\.0\.0\.1|localhost):\d+(/[^\s'\"?)]*)|\"\$job([^\"?]*)")
_METHOD = re.compile(r"\s-X\s+([A-Z]+)")
_BODY = re.compile(r"\s(?:-F|-d|--json|--data\S*)\s")


def asked_for(step: Step) -> set[tuple[str, str]]:
    """Methods and paths of the requests of a step; ``$job`` stands for the address of a job."""
    found = set()
    for call in _CALL.findall(step.command):
        if named := _METHOD.search(call):
            method = named[1]
        else:
            method = "HEAD" if re.search(r"\s-\w*I", call) else "POST" if _BODY.search(call) else "GET"
        for path, of_job in _ADDRESS.findall(call):
            found.add((method, path or f"/v1/jobs/{{job}}{of_job}"))
    return found
