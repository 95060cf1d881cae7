"""An MLServer runtime for a bundle's graph; runs in MLServer's environment, which has no Holdfast in it."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxBundle(MLModel):
    """Serves one graph; the model's settings say which, and what its tensors are."""

    async def load(self) -> bool:
        """Open the graph; its weights lie beside it."""
        self._session = onnxruntime.InferenceSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run it."""
        images = NumpyCodec.decode_input(payload.inputs[0])
        names = [output.name for output in self._session.get_outputs()]
        found = self._session.run(names, {payload.inputs[0].name: images})
        outputs = [NumpyCodec.encode_output(name, values) for name, values in zip(names, found, strict=True)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
