"""The registered model's code: MLflow loads it from this file, with safetensors beside it, no pickle.

A request carries the audio itself, never a path: a served path would read any file of the server.
"""

import base64
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from pydantic import BaseModel

from recitative.errors import UserError
from recitative.predict import Predictor


class Song(BaseModel):
    """One audio file: its bytes in base64, and a name that the answer repeats."""

    audio: str
    name: str = "song"


class RecitativeModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Emotion over time of each song."""

    def load_context(self, context: Any) -> None:
        """Rebuild the classifier from the bundle."""
        self.predictor = Predictor.load(Path(context.artifacts["bundle"]))

    def predict(
        self, context: Any, model_input: list[Song], params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Answer each song with `seconds`, `whole` and `timeline`, or with an `error`."""
        return [self._answer(song) for song in model_input]

    def _answer(self, song: Song) -> dict[str, Any]:
        with tempfile.NamedTemporaryFile(suffix=".audio") as file:
            try:
                file.write(base64.b64decode(song.audio, validate=True))
                file.flush()
                return self.predictor.predict(Path(file.name)).to_json() | {"file": song.name}
            except ValueError as error:
                return {"file": song.name, "error": f"audio is no base64: {error}"}
            except UserError as error:
                return {"file": song.name, "error": str(error).replace(file.name, song.name)}


mlflow.models.set_model(RecitativeModel())
