# Written from _async by scripts/unasync.py; change it there.
"""The client."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from holdfast_client import _calls
from holdfast_client._attack_results import AttackProgress, AttackResult
from holdfast_client._call import Call
from holdfast_client._config import configure
from holdfast_client._errors import ConfigurationError, HoldfastError, NotFoundError, UnexpectedAnswerError
from holdfast_client._images import ImageInput, encode_image
from holdfast_client._predictions import Prediction, prediction_of
from holdfast_client._retries import Retries
from holdfast_client._server import ServerInfo, info_of
from holdfast_client._sync.gather import gather
from holdfast_client._sync.jobs import Jobs
from holdfast_client._sync.models import Attacks, Models
from holdfast_client._sync.transport import Transport

if TYPE_CHECKING:
    import ssl

    import httpx

T = TypeVar("T")

#: Connections that are kept, and requests that may be under way at once.
_CONNECTIONS = 64


class Holdfast:
    """A client of a Holdfast gateway.

    >>> with Holdfast("http://127.0.0.1:8000") as client:
    ...     prediction = client.classify("ship.png")

    It keeps connections open, so make one and keep it; it may be shared by any number of threads.

    Args:
        base_url: Where the gateway is; by default ``HOLDFAST_URL``, or else ``http://127.0.0.1:8000``.
        api_key: By default ``HOLDFAST_API_KEY``; none where the gateway asks for none.
        model: What ``classify`` and ``attack`` ask if they are not told; by default the one that the gateway
            names for whoever does not know.
        timeout: Seconds for one attempt of a request, from its beginning to the end of its answer.
        max_retries: How often a request is sent again that failed and may be: after a connection that ended
            before an answer, and after 429 and 503, which say when to come back. Between attempts it waits
            0.5 s, 1 s, 2 s, … and not quite, so that callers who failed together do not come back together.
        route_key: Anything of yours: while several versions share a model's requests, it keeps you with one.
        verify: As in httpx: an ``ssl.SSLContext`` for a certificate authority of your own.
        transport: In place of sockets, an ``httpx.BaseTransport``, e.g. ``httpx.MockTransport(answer)``.

    Attributes:
        jobs: Campaigns of attacks on many images.
        models: The models that are served.
        attacks: The attacks that the server knows.

    Raises:
        ConfigurationError: One of these cannot be.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        model: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 2,
        route_key: str | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        config = configure(base_url, api_key, timeout, route_key)
        self._transport = Transport(
            config, Retries(max_retries), connections=_CONNECTIONS, verify=verify, http=transport
        )
        self._model = model
        self._default: str | None = None
        self.jobs = Jobs(self._transport)
        self.models = Models(self._transport)
        self.attacks = Attacks(self._transport)

    def __enter__(self) -> Holdfast:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def __repr__(self) -> str:
        """Where it leads; not as whom."""
        key = ", with a key" if self._transport.config.api_key else ""
        return f"<Holdfast {self._transport.config.base_url}{key}>"

    def classify(
        self,
        image: ImageInput,
        *,
        model: str | None = None,
        version: str | None = None,
        defence: str = "default",
        top_k: int = 5,
        timeout: float | None = None,
    ) -> Prediction:
        """Classify one image.

        >>> prediction = client.classify("ship.png", defence="imt+")
        >>> prediction.label, prediction.probability, prediction.manifold

        Args:
            image: A path, bytes, an open file, a PIL image, a numpy array or a torch tensor; see
                ``encode_image``.
            model: ``NAME`` or ``NAME/VERSION``; by default the client's.
            version: By default the server chooses.
            defence: A defence at inference that the model offers.
            top_k: How many classes to list in ``top_k``; ``probabilities`` has all.
            timeout: Seconds for an attempt, if not the client's.

        Raises:
            ImageInputError: It cannot be sent.
            ProblemError: The server refused it.
            APIError: The request failed.
        """
        content = encode_image(image)
        name, chosen = _calls.split_model(model or self._usual(), version)
        call = _calls.classify(content, name, chosen, defence, top_k)
        answer = self._asking(call, model, timeout)
        if len(answer.predictions) != 1:
            raise UnexpectedAnswerError(f"One image was sent, and {len(answer.predictions)} answers came.")
        is_path = isinstance(image, str) or hasattr(image, "__fspath__")
        return prediction_of(answer, image if is_path else content)

    @overload
    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        concurrency: int = ...,
        return_errors: Literal[False] = ...,
        model: str | None = ...,
        version: str | None = ...,
        defence: str = ...,
        top_k: int = ...,
        timeout: float | None = ...,
    ) -> list[Prediction]: ...
    @overload
    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        concurrency: int = ...,
        return_errors: Literal[True],
        model: str | None = ...,
        version: str | None = ...,
        defence: str = ...,
        top_k: int = ...,
        timeout: float | None = ...,
    ) -> list[Prediction | HoldfastError]: ...
    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        concurrency: int = 8,
        return_errors: bool = False,
        model: str | None = None,
        version: str | None = None,
        defence: str = "default",
        top_k: int = 5,
        timeout: float | None = None,
    ) -> list[Prediction] | list[Prediction | HoldfastError]:
        """Classify many images, several at a time; the predictions, in the order of the images.

        >>> predictions = client.classify_many(Path("images").glob("*.png"))

        Each is a request of its own, which the server puts together with others. Images are read as they are
        needed, so that a generator of any length will do.

        Args:
            images: Each as in ``classify``.
            concurrency: How many at a time.
            return_errors: Put an error in the place of the prediction that it prevented. Else the first one
                is raised, and the rest is not classified.
            model, version, defence, top_k, timeout: As in ``classify``.

        Raises:
            HoldfastError: An image could not be classified.
        """
        if concurrency < 1:
            raise ConfigurationError(f"concurrency is 1 or more, not {concurrency}.")
        named = model or self._usual()

        def one(image: ImageInput) -> Prediction | HoldfastError:
            try:
                return self.classify(
                    image, model=named, version=version, defence=defence, top_k=top_k, timeout=timeout
                )
            except HoldfastError as error:
                if return_errors:
                    return error
                raise

        return gather(one, images, min(concurrency, _CONNECTIONS))

    def attack(
        self,
        image: ImageInput,
        attack: str = "pgd",
        *,
        model: str | None = None,
        version: str | None = None,
        defence: str = "default",
        label: str | int | None = None,
        top_k: int = 5,
        exact: bool = False,
        trace: int = 0,
        timeout: float | None = None,
        progress: Callable[[AttackProgress], None] | None = None,
        parameters: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AttackResult:
        """Attack one image, now.

        >>> result = client.attack("ship.png", "pgd", epsilon="8/255", steps=20)
        >>> result.success, result.before.label, result.after.label, result.flags
        >>> client.attack("ship.png", "autoattack", progress=lambda now: print(f"{now.share:.0%}"))

        What costs more than the server lets one request spend is refused (``AttackTooCostlyError``), and one
        for ``jobs.create``.

        Args:
            image: As in ``classify``.
            attack: Its name; ``client.attacks.list()`` has them.
            model: ``NAME`` or ``NAME/VERSION``; by default the client's.
            version: By default the server chooses.
            defence: The defence under attack, which is attacked through.
            label: The class that the image is of, by name or number; by default what the model says.
            top_k: How many classes each prediction lists.
            exact: Answer the result before rounding to 8 bits too.
            trace: So many of the images that the attack tried, at most 64.
            timeout: Seconds for an attempt, if not the client's.
            progress: Called with how the attack is, each time that the server says so: some ten times a
                second. An older server says nothing before the answer.
            parameters: The attack's own, where one has the name of an argument here.
            more: The attack's own, such as ``epsilon="8/255"``, ``steps=20``, ``target="dog"``. Norm and
                budget, if not given, are the model's own threat model.

        Raises:
            ImageInputError: The image cannot be sent.
            AttackTooCostlyError: It is one for a job.
            InvalidRequestError: There is no such attack, parameter or class.
            APIError: The request failed.
        """
        content = encode_image(image)
        name, chosen = _calls.split_model(model or self._usual(), version)
        options = {
            "attack": attack,
            "defence": defence,
            "label": label,
            "top_k": top_k,
            "float": exact or None,
            "trace": trace or None,
        }
        call = _calls.attack(content, name, chosen, options, {**(parameters or {}), **more}, progress)
        return self._asking(call, model, timeout)

    def server(self) -> ServerInfo:
        """What the server is, and whether this client and it understand one another.

        >>> print(client.server())

        Nobody needs a key for it. An error that may come from a difference of versions asks by itself, and
        says what it found.

        Raises:
            UnexpectedAnswerError: What answers is no Holdfast gateway.
            APIError: The request failed.
        """
        info = info_of(self._transport.call(_calls.describe()))
        if info is None:
            raise UnexpectedAnswerError(
                f"What answers at {self._transport.config.base_url} is no Holdfast gateway."
            )
        return info

    def _usual(self) -> str:
        """The model that is asked where none is named."""
        if self._model is not None:
            return self._model
        if self._default is None:
            self._default = self.models.list().default
        return self._default

    def _asking(self, call: Call[T], named: str | None, timeout: float | None) -> T:
        try:
            return self._transport.call(call, timeout)
        except NotFoundError:
            if named is None:
                self._default = None  # the server may have another model by now
            raise
