"""What a caller may ask for in a campaign, as pydantic models: they validate the request and document it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Whence the classes of the images are known.
LabelSource = Literal["auto", "model", "folder", "file", "array"]

#: More than these in one list are a mistake.
_MANY = 1000

_Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelChoice(_Request):
    """A model under attack, and through which of its defences."""

    model: Annotated[_Name, Field(description="Its name, or NAME/VERSION; without one the default version.")]
    defences: Annotated[
        list[_Name],
        Field(
            min_length=1,
            max_length=_MANY,
            description="Of those that it offers; `default` is the first of these. Each is attacked through.",
        ),
    ] = ["default"]


class AttackChoice(_Request):
    """An attack and its parameters."""

    attack: Annotated[_Name, Field(description="Its name; `GET /v1/attacks` lists them.")]
    name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$",
            description="What to call it in the result, where a job has the same attack twice.",
        ),
    ] = None
    parameters: Annotated[
        dict[str, Any],
        Field(
            description="By the attack's own JSON Schema; a budget may be written `8/255`. The norm and the "
            "budget that are left out are those that the model was made for."
        ),
    ] = {}
    eot: Annotated[
        int,
        Field(ge=1, le=10_000, description="For a model that answers at random: craft on means of so many."),
    ] = 1


class DatasetChoice(_Request):
    """Images of a data set that the server has."""

    name: Annotated[_Name, Field(description="`GET /v1/datasets` lists them.")]
    first: Annotated[int, Field(ge=0, le=2**31, description="The first image's place.")] = 0
    count: Annotated[
        int | None, Field(ge=1, le=2**31, description="How many, in order; all from there, if not said.")
    ] = None


def _model(given: Any) -> Any:
    return {"model": given} if isinstance(given, str) else given


def _attack(given: Any) -> Any:
    return {"attack": given} if isinstance(given, str) else given


def _dataset(given: Any) -> Any:
    return {"name": given} if isinstance(given, str) else given


class CampaignRequest(_Request):
    """A campaign: every attack on every model behind every defence, over all images."""

    name: Annotated[
        str,
        Field(
            max_length=200,
            pattern=r"^[^\x00-\x1f\x7f]*$",
            description="A note, for whoever reads the list.",
        ),
    ] = ""
    models: Annotated[
        list[Annotated[ModelChoice, BeforeValidator(_model, json_schema_input_type=ModelChoice | str)]],
        Field(min_length=1, max_length=_MANY, description="A name alone stands for its default defence."),
    ]
    attacks: Annotated[
        list[Annotated[AttackChoice, BeforeValidator(_attack, json_schema_input_type=AttackChoice | str)]],
        Field(min_length=1, max_length=_MANY, description="A name alone stands for its default parameters."),
    ]
    parameters: Annotated[
        dict[str, Any],
        Field(description="Parameters for every attack that has them; an attack's own go before these."),
    ] = {}
    dataset: Annotated[
        Annotated[DatasetChoice, BeforeValidator(_dataset, json_schema_input_type=DatasetChoice | str)]
        | None,
        Field(description="In place of images that are sent along."),
    ] = None
    labels: Annotated[
        # Of ten thousand labels that are none, the first is enough to hear of.
        LabelSource | Annotated[list[int | str], Field(fail_fast=True)],
        Field(
            description="Whose word counts for what an image is of: `model` (what each model says of it), "
            "`folder` or `file` (the name of the image's folder or file), `array` (what the array file or "
            "the data set says), or a list of names or numbers. `auto` is `array` where there are labels, "
            "else `model`."
        ),
    ] = "auto"
    layout: Annotated[
        Literal["auto", "nchw", "nhwc"], Field(description="Of an array file, where its shape does not say.")
    ] = "auto"
    float_images: Annotated[
        bool, Field(description="Keep the exact adversarial images too, as float32 arrays.")
    ] = False
