"""A registered model's files without MLflow, whose import takes longer than to hear a song.

Reads what MLflow wrote into a local SQLite store; where anything is not as expected the answer is
None, and the caller asks MLflow itself.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlparse

from recitative.tracking.store import store_file

_QUERY = """
SELECT model_versions.source FROM model_versions
LEFT JOIN registered_model_aliases AS aliases
  ON aliases.name = model_versions.name AND aliases.version = model_versions.version
WHERE model_versions.name = ? AND model_versions.status = 'READY'
  AND (aliases.alias = ? OR CAST(model_versions.version AS TEXT) = ?)
"""


def local_bundle(name: str, which: str) -> Path | None:
    """The folder with model.json and model.safetensors of a version that lies on this machine.

    Args:
        name: of the registered model, e.g. ``mer-eng``.
        which: alias or number.
    """
    store = store_file()
    if not store or not store.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(_QUERY, (name, which, which)).fetchall()
    except sqlite3.Error:  # another MLflow's tables: it knows them itself
        return None
    sources = {urlparse(source) for (source,) in rows}
    if len(sources) != 1 or (source := sources.pop()).scheme not in ("file", ""):
        return None
    folders = list((Path(unquote(source.path)) / "artifacts").glob("*/model.json"))
    return folders[0].parent if len(folders) == 1 else None
