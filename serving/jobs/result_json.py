"""A job's result as JSON, made while it is sent."""

from __future__ import annotations

from collections.abc import Iterator

from serving.jobs.results import Reading, ResultReader

#: How a run ends in JSON, its record's results being what comes last in it, and how a result has no runs.
_NO_IMAGES, _NO_RUNS = "]}}", '"runs":[]'


def result_json(reading: Reading, reader: ResultReader) -> Iterator[bytes]:
    """The JSON of a :class:`serving.jobs.views.JobResult` with what came of every image, piece by piece.

    Args:
        reading: All the rest of it.
        reader: Where the images are read from, a chunk at a time.

    Raises:
        UnknownJobError: The job has been deleted meanwhile.
    """
    result = reading.result
    # No name can be taken for it: in a string of JSON a quotation mark has a backslash before it.
    before, after = result.model_copy(update={"runs": []}).model_dump_json().split(_NO_RUNS)
    yield f'{before}"runs":['.encode()
    for number, run in enumerate(result.runs):
        yield ("," * (number > 0) + run.model_dump_json().removesuffix(_NO_IMAGES)).encode()
        separator = ""
        for images in reader.images(reading, number):
            yield (separator + ",".join(each.model_dump_json() for each in images)).encode()
            separator = ","
        yield _NO_IMAGES.encode()
    yield f"]{after}".encode()
