"""What a page shows is held to what comes out, neither more loosely nor more strictly than it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.transcripts.fitting import MismatchError, Names
from support.transcripts.markdown import Step, blocks_of
from support.transcripts.output import fit_output
from support.transcripts.requests import asked_for

JOB, OTHER = "1efaea956f4d1f17298f", "9af1d0988eb7ef3fc926"


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ('{"a":1,…}', '{"a":1,"b":2}'),
        ('{…,"b":2}', '{"a":1,"b":2}'),
        ('{"a":{"b":"long text", …', '{"a":{"b":"long text","c":1},"d":2}'),
        ('{"a":"long\n text",\n "b":[1,…]}', '{"a":"long text","b":[1,2,3]}'),
        ("[…,2,…,5]", "[1,2,3,4,5]"),
        ('{"a":"iVBORw0KGgoA…"}', '{"a":"iVBORw0KGgoAAAANS"}'),
        ('{"total_ms":1.5,"queries":8,"p":0.929645}', '{"total_ms":99.0,"queries":9,"p":0.929644}'),
        ('{"seconds":240.0,"detail":"240 s by"}', '{"seconds":3.1,"detail":"3.1 s by"}'),
        ("id: 1\ndata: {…}\n\nid: 2", "id: 1\r\ndata: {}\r\n\r\n: ping - now\r\n\r\nid: 2\r\n"),
        ("first\n…\nlast", "first\n1\n2\nlast\n"),
        ("HTTP/1.1 200 OK\ndate: x\n…\n\n{}", "HTTP/1.1 200 OK\r\nDate: y\r\nVia: z\r\n\r\n{}"),
        ("since 2026-11-21T19:35:30.216998Z", "since 2027-01-02T03:04:05Z"),
    ],
)
def test_what_fits_fits(shown: str, found: str) -> None:
    fit_output(shown, found, Names())


@pytest.mark.parametrize(
    ("shown", "found", "complaint"),
    [
        ('{"a":1}', '{"a":1,"b":2}', "there, and not shown"),
        ('{"a":1,…}', '{"b":2}', "shown, and not there"),
        ('{"a":1}', '{"a":"1"}', "where a number is shown"),
        ('{"a":1}', '{"a":true}', "where a number is shown"),
        ('{"a":null}', '{"a":0}', "where None is shown"),
        ('{"a":{}}', '{"a":[]}', "where an object is shown"),
        ("[1,…,3]", "[1,2]", "2 where 3 is shown"),
        ("[…,7,…]", "[1,2]", "nowhere"),
        ('{"limit":20}', '{"limit":21}', "21 where 20 is shown"),
        ('{"p":0.93}', '{"p":0.88}', "0.88 where 0.93 is shown"),
        ('{"version":"0.1.0"}', '{"version":"0.2.0"}', "where '0.1.0' is shown"),
        ("{}", "not JSON", "where"),
        ("one\ntwo", "one", "shown and did not come"),
        ("one", "one\ntwo", "not shown"),
        ("404 curl", "200 curl", "200 curl"),
        ("HTTP/1.1 200 OK\na: b", "HTTP/1.1 404 Not Found\na: b", "404 Not Found where"),
        ("HTTP/1.1 200 OK\na: b", "HTTP/1.1 200 OK\na: b\nc: d", "came and are not shown"),
        ("HTTP/1.1 200 OK\na: b\nc: d", "HTTP/1.1 200 OK\na: b", "did not come"),
        ("HTTP/1.1 200 OK\na: b", "HTTP/1.1 200 OK\na: c", "a: 'c'"),
    ],
)
def test_what_does_not_fit_is_noticed(shown: str, found: str, complaint: str) -> None:
    with pytest.raises(MismatchError, match=complaint):
        fit_output(shown, found, Names())


def test_id_stands_for_the_same_one_wherever_it_is_shown() -> None:
    names = Names()
    fit_output(
        f'{{"id":"{JOB}","self":"/v1/jobs/{JOB}"}}', f'{{"id":"{OTHER}","self":"/v1/jobs/{OTHER}"}}', names
    )
    assert names.now(f"curl localhost/v1/jobs/{JOB}") == f"curl localhost/v1/jobs/{OTHER}"
    with pytest.raises(MismatchError, match="stood for"):
        fit_output(JOB, JOB, names)


def test_json_that_is_shown_wrongly_is_an_error() -> None:
    with pytest.raises(ValueError, match="should follow"):
        fit_output('{"a":1 "b":2}', '{"a":1,"b":2}', Names())


PAGE = """
```console
$ curl -s a |
    cat   # it's two lines
output
$ python3 - <<'END'
print("curl")
END
$ curl 'b
c'; curl d
```

```sh
# said, not run
curl e
```
"""


def test_commands_are_read_as_bash_reads_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    console, plain = blocks_of(page)
    assert [step.command for step in console.steps] == [
        "curl -s a |\n    cat   # it's two lines",
        "python3 - <<'END'\nprint(\"curl\")\nEND",
        "curl 'b\nc'; curl d",
    ]
    assert [step.shown for step in console.steps] == ["output", "", ""]
    assert [step.line for step in console.steps] == [3, 6, 9]
    assert (console.asks, plain.asks) == (3, 1)
    assert [step.command for step in plain.steps] == ["curl e"]


def test_block_whose_curl_would_not_be_run_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\ncurl a\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="above any command"):
        blocks_of(page)
    page.write_text("```console\n$ echo curl\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no line of this block runs curl"):
        blocks_of(page)
    page.write_text("```shell-session\n$ curl a\n```\n", encoding="utf-8")
    with pytest.raises(ValueError, match="write ```console"):
        blocks_of(page)


@pytest.mark.parametrize(
    ("options", "method"),
    [("", "GET"), ("-sI", "HEAD"), ("-F a=b", "POST"), ("-s --json @x", "POST"), ("-X PUT -d x", "PUT")],
)
def test_requests_are_known_by_method_and_path(options: str, method: str) -> None:
    step = Step(f"curl {options} 'http://127.0.0.1:8000/v1/models?x=y' | cat", "", 1)
    assert asked_for(step) == {(method, "/v1/models")}
