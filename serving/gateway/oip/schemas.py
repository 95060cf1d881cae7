"""The protocol's objects as pydantic models, which the API is described with; see ``holdfast.oip``.

An answer may have more members than these, as the protocol allows.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from holdfast.oip.wire import DATATYPES

Parameters = Annotated[dict[str, str | int | float | bool], Field(description="Further choices, by name.")]

#: One red image of eight by eight pixels, as values in one flat list.
_RED: list[JsonValue] = [*[1.0] * 64, *[0.0] * 128]


class ErrorDocument(BaseModel):
    """What went wrong, by the Open Inference Protocol."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "There is no model 'cat' here."}]})

    error: Annotated[str, Field(description="What was wrong with this request, and what to do about it.")]


class ServerMetadata(BaseModel):
    """What this server is."""

    name: str
    version: str
    extensions: Annotated[list[str], Field(description="What it can do beyond the protocol's core.")]


class Live(BaseModel):
    """Whether the server lives."""

    live: bool


class Ready(BaseModel):
    """Whether the server can classify."""

    ready: bool


class ModelReady(Ready):
    """Whether a model can classify."""

    name: str


class TensorMetadata(BaseModel):
    """A tensor that a model takes or gives."""

    name: str
    datatype: Annotated[str, Field(examples=["FP32"])]
    shape: Annotated[list[int], Field(description="-1 stands for any number.")]


class ModelMetadata(BaseModel):
    """A model: what it takes and what it gives."""

    name: str
    versions: list[str]
    platform: Annotated[str, Field(examples=["onnx_onnxv1"])]
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: Annotated[
        dict[str, str],
        Field(description="`version`, and as JSON in a string `classes` and `defences`."),
    ]


class InferInput(BaseModel):
    """The images."""

    name: Literal["images"]
    datatype: Literal["FP32"]
    shape: Annotated[
        list[Annotated[int, Field(ge=1)]],
        Field(min_length=4, max_length=4, description="[n, channels, height, width]."),
    ]
    data: Annotated[
        list[Any],
        Field(
            description="Values in [0, 1], as nested lists of this shape or as one flat list in row-major "
            "order. Where they follow the JSON as bytes, the parameter `binary_data_size` is in its place."
        ),
    ]
    parameters: Parameters | None = None


class InferRequestedOutput(BaseModel):
    """An output that is wished for."""

    name: Annotated[str, Field(examples=["logits"])]
    parameters: Annotated[
        Parameters | None, Field(description="`binary_data`: whether it is to come as bytes.")
    ] = None


class InferRequest(BaseModel):
    """Images to be classified."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "1",
                    "inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": _RED}],
                    "outputs": [{"name": "label"}, {"name": "probabilities"}],
                }
            ]
        }
    )

    id: Annotated[str | None, Field(description="Your name for the request; the answer has it, too.")] = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1)]
    outputs: Annotated[
        list[InferRequestedOutput] | None, Field(description="What is wished for; all, if nothing is named.")
    ] = None
    parameters: Annotated[
        Parameters | None,
        Field(
            description="`defence`: as in a classification. `binary_data_output`: whether outputs are to "
            "come as bytes."
        ),
    ] = None


class InferOutput(BaseModel):
    """One output."""

    name: str
    datatype: Annotated[str, Field(examples=list(DATATYPES))]
    shape: list[int]
    data: Annotated[
        list[Any] | None,
        Field(description="Its values in row-major order; not given where they follow the JSON as bytes."),
    ] = None
    parameters: Parameters | None = None


class InferResponse(BaseModel):
    """The answer: what was asked for, of every image in the order of the request."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    parameters: Parameters
    outputs: list[InferOutput]


class RepositoryIndexRequest(BaseModel):
    """What of the repository to list."""

    ready: Annotated[
        bool, Field(strict=True, description="Only what is ready; here everything listed is.")
    ] = False


class RepositoryEntry(BaseModel):
    """One version of a model in the repository."""

    name: str
    version: str
    state: Annotated[str, Field(examples=["READY"])]
    reason: str


#: Those that are in no route's signature.
DESCRIBED = (ErrorDocument, InferRequest, InferResponse, RepositoryIndexRequest)
