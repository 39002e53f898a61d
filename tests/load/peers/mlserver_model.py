"""Our rating artifact as a custom runtime of MLServer, whose Python runs this; its `uri` is a published version."""

from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from servers.loading import load
from servers.runtime.datatypes import DTYPES
from servers.runtime.repository import verify
from servers.signature import SCORE, Limits

LIMITS = Limits(B=32, L=2_000, C=20_000, K=1_000, A=500_000)


class RatingModel(MLModel):  # type: ignore[misc]
    async def load(self) -> bool:
        folder = Path(self.settings.parameters.uri)
        self._scorer = load(verify(folder, folder.parent.name, int(folder.name)), threads=1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {
            tensor.name: np.array(tensor.data.root, DTYPES[tensor.datatype]).reshape(tensor.shape)
            for tensor in payload.inputs
        }
        score = self._scorer.score(SCORE.complete(given, LIMITS))["score"]
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", score)])
