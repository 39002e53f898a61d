"""Our rating artifact as a custom model of KServe, whose Python runs this with --artifact, a published version."""

import argparse
from pathlib import Path
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server

from servers.loading import load
from servers.runtime.repository import verify
from servers.signature import SCORE, Limits

LIMITS = Limits(B=32, L=2_000, C=20_000, K=1_000, A=500_000)


class RatingModel(Model):  # type: ignore[misc]
    def __init__(self, folder: Path) -> None:
        super().__init__("rating")
        self._scorer = load(verify(folder, folder.parent.name, int(folder.name)), threads=1)
        self.ready = True

    async def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        given = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        score = self._scorer.score(SCORE.complete(given, LIMITS))["score"]
        output = InferOutput("score", list(score.shape), "FP32")
        output.set_data_from_numpy(score)
        return InferResponse(payload.id, self.name, [output])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser], conflict_handler="resolve")
    parser.add_argument("--artifact", type=Path, required=True)
    ModelServer().start([RatingModel(parser.parse_args().artifact)])
