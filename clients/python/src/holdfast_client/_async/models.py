"""``client.models``, and ``client.attacks``."""

from __future__ import annotations

from holdfast_client import _calls
from holdfast_client._async.transport import AsyncTransport
from holdfast_client._attack_results import AttackDescription, AttackDescriptions
from holdfast_client._model_results import Model, ModelList


class AsyncModels:
    """The models that are served."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> ModelList:
        """All of them.

        >>> for model in await client.models.list():
        ...     print(model.name, model.versions, model.defences)

        Raises:
            APIError: The request failed.
        """
        return await self._transport.call(_calls.list_models())

    async def get(self, name: str, version: str | None = None) -> Model:
        """One version of a model: what it takes, what it answers, what was measured on it.

        >>> (await client.models.get("pgd-at-cifar10")).classes

        Args:
            name: ``NAME`` or ``NAME/VERSION``.
            version: Which; by default the one that answers most of the requests that name none.

        Raises:
            NotFoundError: There is no such model or version.
            APIError: The request failed.
        """
        return await self._transport.call(_calls.get_model(*_calls.split_model(name, version)))


class AsyncAttacks:
    """The attacks that the server knows."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> AttackDescriptions:
        """All of them, from the plainest to the strongest.

        >>> [attack.name for attack in await client.attacks.list()]

        Raises:
            APIError: The request failed.
        """
        return (await self._transport.call(_calls.list_attacks())).attacks

    async def get(self, name: str) -> AttackDescription:
        """One of them, with the JSON Schema of its parameters.

        >>> (await client.attacks.get("pgd")).parameters["properties"].keys()

        Raises:
            NotFoundError: There is no such attack.
            APIError: The request failed.
        """
        return await self._transport.call(_calls.get_attack(name))
