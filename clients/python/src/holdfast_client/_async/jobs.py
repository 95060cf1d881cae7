"""``client.jobs``: campaigns of attacks on many images."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from holdfast_client import _calls
from holdfast_client._async.transport import AsyncTransport
from holdfast_client._attack_results import Outcome
from holdfast_client._campaign import AttackGiven, DatasetChoice, LabelSource, ModelGiven, campaign, opened
from holdfast_client._errors import (
    APIError,
    ConfigurationError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)
from holdfast_client._images import ImageInput
from holdfast_client._job_results import (
    Datasets,
    Job,
    JobEvent,
    JobImage,
    JobPage,
    JobResult,
    Removal,
    State,
)
from holdfast_client._retries import is_passing
from holdfast_client._sse import EventReader

#: Seconds for a job to be taken on: images have 300 to arrive and as many again to be checked, and a data set
#: has those alone, by the settings that a server has if nobody changes them. And some to answer.
_IMAGES_TAKEN, _DATASET_TAKEN = 660.0, 330.0

#: Seconds between two looks at a job that is waited for: at first, and at most.
_SOON, _LATER = 0.2, 2.0

#: Seconds without a byte after which a stream of events is begun anew; the server says something every 15.
_SILENCE = 45.0


class AsyncJobs:
    """Campaigns of attacks: begun here, carried out by the server's workers, kept with their results."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        images: Iterable[ImageInput] | ImageInput | None = None,
        *,
        models: ModelGiven | Sequence[ModelGiven],
        attacks: AttackGiven | Sequence[AttackGiven] = "pgd",
        parameters: Mapping[str, Any] | None = None,
        dataset: str | DatasetChoice | None = None,
        labels: LabelSource | Sequence[int | str] = "auto",
        layout: str = "auto",
        float_images: bool = False,
        name: str = "",
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Job:
        """Begin a job: every attack on every model behind every defence, over all images.

        >>> job = await client.jobs.create(
        ...     "images/", models="pgd-at-cifar10", attacks=["pgd", "autoattack"],
        ...     parameters={"epsilon": "8/255"}, labels="folder",
        ... )
        >>> job = await client.jobs.wait(job.id)
        >>> result = await client.jobs.result(job.id)

        Everything is checked before the job is taken on: where one image cannot be used, none is attacked.

        Args:
            images: A folder, a ``.zip`` or ``.npz`` file, an image, or several of them in any mixture; an
                image may be a pair of a name and the image. Left out where a data set is named.
            models: ``NAME``, ``NAME/VERSION``, or a ``ModelChoice`` that names defences; one or several.
            attacks: Names, or ``AttackChoice``\\ s with parameters of their own; one or several.
            parameters: For every attack that has them. A budget may be written ``"8/255"``.
            dataset: A data set of the server, in place of images.
            labels: Whose word counts for what an image is of: ``model``, ``folder``, ``file`` (the name of
                the image's folder or file), ``array``, or a list of names or numbers. ``auto`` is ``array``
                where there are labels, else ``model``.
            layout: ``nchw`` or ``nhwc``, where an array file's shape does not say.
            float_images: Keep the exact adversarial images too.
            name: A note.
            idempotency_key: The same key with the same content gives the same job, also from another
                process: up to 255 visible ASCII characters. By default one is made for this call, so that
                sending it again begins no second job.
            timeout: Seconds for an attempt; by default the client's, but 660 at least where images are sent
                and 330 where a data set is named, as the server takes its time to check all of them.

        Raises:
            ConfigurationError: Something of this cannot be sent.
            ImageInputError: An image cannot be read.
            InvalidRequestError: The campaign cannot be carried out.
            APIError: The request failed.
        """
        if (images is None) == (dataset is None):
            raise ConfigurationError("A job needs images or a data set, and not both.")
        asked = campaign(
            models=models,
            attacks=attacks,
            parameters=parameters,
            dataset=dataset,
            labels=labels,
            layout=layout,
            float_images=float_images,
            name=name,
        )
        key = _calls.idempotency_key(idempotency_key)
        usual = max(self._transport.config.timeout, _DATASET_TAKEN if images is None else _IMAGES_TAKEN)
        with opened(images) as files:
            if images is not None and not files:
                raise ConfigurationError("There are no images.")
            return await self._transport.call(_calls.create_job(asked, files, key), timeout or usual)

    async def get(self, job: str) -> Job:
        """How a job is, and how far each of its runs is.

        >>> (await client.jobs.get(job.id)).progress.share

        Raises:
            NotFoundError: There is no such job, or it is another key's.
            APIError: The request failed.
        """
        return await self._transport.call(_calls.get_job(job))

    async def list(
        self, *, limit: int = 20, before: str | None = None, state: State | None = None
    ) -> JobPage:
        """Jobs, newest first.

        >>> page = await client.jobs.list(state="running")
        >>> next_page = await client.jobs.list(before=page.older) if page.older else None

        Args:
            limit: How many at most, up to 100.
            before: Only those that are older than this job.
            state: Only those in this state.

        Raises:
            APIError: The request failed.
        """
        return await self._transport.call(_calls.list_jobs(limit, before, state))

    async def events(self, job: str, *, after: int = 0, patience: float = 60.0) -> AsyncIterator[JobEvent]:
        """What happens to a job, from its beginning until it is over.

        >>> async for event in client.jobs.events(job.id):
        ...     print(event.kind, event.share)

        Where the connection is lost, or the server started anew, it is continued behind the last event.

        Args:
            job: Its id.
            after: The number of the last event that is known already.
            patience: Seconds to try for, when the server is not there or turns callers away.

        Raises:
            NotFoundError: There is no such job, or not any more.
            APIError: The request failed.
        """
        reader = EventReader(last=after)
        silent_since = time.monotonic()
        over = False
        while True:
            before = reader.last
            try:
                reader.restart()
                call = _calls.follow_job(job, before)
                async with self._transport.stream(call, _SILENCE, again=False) as response:
                    async for part in response.aiter_bytes():
                        silent_since = time.monotonic()
                        for event in _read(reader, part):
                            yield event
                            if event.is_last:
                                return
                pause = reader.retry
                if reader.last == before:
                    if over:
                        return
                    # All may have been known already. What happened since is in one more stream, if anything.
                    over = (await self.get(job)).is_over
                    pause = 0.0 if over else pause
            except APIError as error:
                pause = max(reader.retry, getattr(error, "retry_after", None) or 0.0)
                if not is_passing(error) or time.monotonic() + pause > silent_since + patience:
                    raise
            await anyio.sleep(pause)

    async def wait(
        self, job: str, *, timeout: float | None = None, progress: Callable[[Job], None] | None = None
    ) -> Job:
        """Wait until a job is over; how it is then: ``succeeded``, ``failed`` or ``cancelled``.

        >>> job = await client.jobs.wait(job.id, progress=lambda job: print(f"{job.progress.share:.0%}"))

        Args:
            job: Its id.
            timeout: Seconds to wait at most; by default as long as it takes.
            progress: Called with each look at the job.

        Raises:
            WaitTimeoutError: It is not over yet. It goes on; ``jobs.cancel`` ends it.
            APIError: The request failed.
        """
        began = time.monotonic()
        pause = _SOON
        while True:
            found = await self.get(job)
            if progress is not None:
                progress(found)
            if found.is_over:
                return found
            left = pause if timeout is None else began + timeout - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(f"{found!r} is not over after {timeout:g} s.", "It goes on.")
            await anyio.sleep(min(pause, left))
            pause = min(_LATER, 1.3 * pause)

    async def result(self, job: str, *, images: bool = True, partial: bool = False) -> JobResult:
        """What a job came to.

        >>> for run in (await client.jobs.result(job.id)).runs:
        ...     print(run.model, run.attack, run.robust_accuracy)

        Args:
            job: Its id.
            images: Whether to have what came of every single image, in ``run.record.results``.
            partial: Of a job that still runs, what there is so far.

        Raises:
            ConflictError: It still runs.
            APIError: The request failed.
        """
        return await self._transport.call(_calls.job_result(job, images=images, partial=partial))

    async def images(
        self,
        job: str,
        run: int = 0,
        *,
        outcome: Outcome | Sequence[Outcome] = (),
        first: int = 0,
        page: int = 60,
    ) -> AsyncIterator[JobImage]:
        """The images of one run, each beside what the attack made of it, in the order of the job.

        >>> async for image in client.jobs.images(job.id, outcome="fooled"):
        ...     Path(f"{image.index}.png").write_bytes(image.adversarial)

        They are asked for a page at a time, as they are needed. Of a job that runs it is what is finished so
        far, and as that is not finished in order, one that comes in between may be missed.

        Args:
            job: Its id.
            run: Which of its runs, from 0, in the order of ``Job.runs``.
            outcome: Only images that came to this, or to one of these; by default all.
            first: How many of them to leave out at the beginning.
            page: How many to ask for at a time, up to 200.

        Raises:
            NotFoundError: There is no such job, or it has no such run.
            APIError: The request failed.
        """
        outcomes = [outcome] if isinstance(outcome, str) else list(outcome)
        more = True
        while more:
            call = _calls.job_images(job, run, outcomes, first, page)
            found = await self._transport.call(call)
            for image in found.images:
                yield image
            first += page
            more = found.next is not None

    async def download(self, job: str, path: str | os.PathLike[str], *, partial: bool = False) -> Path:
        """Write what a job came to into a zip file: tables, figures, and the adversarial images.

        >>> await client.jobs.download(job.id, "result.zip")

        Args:
            job: Its id.
            path: The file. It is there when it is whole, and not before.
            partial: Of a job that still runs, what there is so far.

        Raises:
            ConflictError: It still runs.
            APIError: The request failed.
            OSError: The file cannot be written.
        """
        place = Path(path)
        unfinished = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.part")
        try:
            with unfinished.open("xb") as file:
                call = _calls.job_package(job, partial=partial)
                async with self._transport.stream(call, self._transport.config.timeout) as response:
                    async for part in response.aiter_bytes():
                        file.write(part)
            unfinished.replace(place)
        finally:
            unfinished.unlink(missing_ok=True)
        return place

    async def cancel(self, job: str) -> Job:
        """End a job that is not over; how it is then. What it has so far is kept.

        >>> await client.jobs.cancel(job.id)

        One that is over stays as it is.

        Raises:
            NotFoundError: There is no such job.
            APIError: The request failed.
        """
        return await self._transport.call(_calls.cancel_job(job))

    async def delete(self, job: str) -> Removal:
        """Delete a job, with its images and its result; one that is not over is cancelled first.

        >>> await client.jobs.delete(job.id)

        Raises:
            NotFoundError: There is no such job.
            APIError: The request failed.
        """
        removal = await self._transport.call(_calls.remove_job(job))
        if removal.outcome == "cancelled":
            removal = await self._transport.call(_calls.remove_job(job))
        return removal

    async def datasets(self) -> Datasets:
        """The data sets of the server, which a job may name in place of images.

        >>> [dataset.name for dataset in await client.jobs.datasets()]

        Raises:
            APIError: The request failed.
        """
        return (await self._transport.call(_calls.list_datasets())).datasets


def _read(reader: EventReader, part: bytes) -> list[JobEvent]:
    try:
        return reader.feed(part)
    except ValueError as error:
        raise UnexpectedAnswerError(f"The events of the job cannot be read: {error}.") from None
