"""The registry's models, loaded when they are first asked for."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from recitative.errors import UserError
from recitative.predict import Predictor
from recitative.serve.problems import Refused
from recitative.tracking import registry
from recitative.vocabulary import LANGUAGES

KEPT = 4  # models in memory


@dataclass(frozen=True)
class Model:
    """A registered version."""

    model: str  # mer-eng/3: what `POST /predict` takes
    alias: str | None  # champion, challenger
    language: str  # of the music that it was trained on
    speech: str  # of the speech that its encoder was pretrained on
    arch: str
    networks: str  # whose answers are averaged
    synthetic: bool  # whether it was trained on the embedded corpus


class Models:
    """What is registered, and the predictors of the versions that were used last."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loaded: OrderedDict[tuple[str, str | None], Predictor] = OrderedDict()

    @staticmethod
    def list() -> list[Model]:
        """Every version there is."""
        return [_model(version, alias) for version, alias in registry.versions()]

    def load(self, address: str) -> tuple[str, Predictor]:
        """The version's name and its predictor; its files are verified when they are read.

        Raises:
            Refused: 404, there is no such version; 409, its files are lost or not those registered.
            UserError: the store cannot be used.
        """
        if not registry.ADDRESS.fullmatch(address):
            raise Refused(404, f"{address[:100]}: no model's name; GET /models lists them")
        try:
            version = registry.resolve(address)
        except UserError as error:
            raise Refused(404, str(error)) from error
        key = version.short, version.tags.get(registry.SHA256)
        with self._lock:
            if key not in self._loaded:
                try:
                    self._loaded[key] = Predictor.load(registry.bundle_of(version))
                except UserError as error:
                    raise Refused(
                        409,
                        f"{version.short}: its files are lost, or not those that were registered; "
                        "use another version, or run `dvc repro --force register` on the server",
                    ) from error
                if len(self._loaded) > KEPT:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(key)
            return version.short, self._loaded[key]


def _model(version: registry.Version, alias: str | None) -> Model:
    tags = version.tags
    speech, _, music = tags.get("pairing", "").partition("2")
    return Model(
        version.short, alias, LANGUAGES.get(music, "unknown"), LANGUAGES.get(speech, "unknown"),
        tags.get("arch", "unknown"), tags.get("members", "unknown"), tags.get("synthetic") == "true",
    )  # fmt: skip
