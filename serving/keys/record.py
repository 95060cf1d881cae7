"""What is known of a key, and the file that keys are kept in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from serving.rates import RateField

#: What a key may be for. No scope implies another.
Scope = Literal["classify", "attack", "admin"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

#: What becomes of a key in its life.
State = Literal["active", "expired", "revoked"]


def _in_order(scopes: tuple[Scope, ...]) -> tuple[Scope, ...]:
    return tuple(scope for scope in SCOPES if scope in scopes)


class KeyRecord(BaseModel):
    """A key, without its secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[0-9A-Za-z]{11}$", description="Its public part.")]
    name: Annotated[str, Field(min_length=1, max_length=100, description="Whose it is, or what it is for.")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1), AfterValidator(_in_order)]
    created: AwareDatetime
    expires: Annotated[AwareDatetime | None, Field(description="When it is valid no longer.")] = None
    revoked: Annotated[AwareDatetime | None, Field(description="When it was revoked.")] = None
    rate: Annotated[RateField | None, Field(description="Its own rate limit, in place of the server's.")] = (
        None
    )
    hash: Annotated[str, Field(pattern=r"^\$argon2id\$", repr=False, description="Of its secret.")]

    def state(self, now: datetime | None = None) -> State:
        """Whether it is valid, and why not."""
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and self.expires <= (now or datetime.now(UTC)):
            return "expired"
        return "active"


class KeyFile(BaseModel):
    """Everything in a file of keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["holdfast-keys/1"] = "holdfast-keys/1"
    keys: tuple[KeyRecord, ...] = ()
