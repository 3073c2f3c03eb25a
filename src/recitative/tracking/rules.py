"""What a member may do on the group's server: MLflow asks `authorize` before it answers anything.

MLflow's own permissions are by experiment and model, and cannot tell one member's run from another's;
so each member has all of them, and this table says what is left. What is not in it is the
administrator's. Whose a run or a version is, the server writes into it (`OWNER`) when it is made.

Runs inside the server's processes only; `Server.environment` names it as MLflow's
`authorization_function`.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from flask import Response, request
from mlflow.exceptions import MlflowException
from mlflow.server import auth, handlers
from werkzeug.datastructures import Authorization

OWNER = "mlflow.user"  # the tag that MLflow's pages show as the creator
SHA256 = "sha256"  # of a version's weights: what a download is checked against
READS = ("GET", "HEAD", "OPTIONS")
PAGES = ("/", "/version", "/graphql", "/get-artifact", "/model-versions/get-artifact")
_API = re.compile(r"/(?:ajax-)?api/\d\.\d/(?:mlflow/)?(.+)")
_ARTIFACT = re.compile(r"mlflow-artifacts/artifacts(?:/(.*))?")
_OF_RUN = re.compile(r"\d+/([0-9a-f]{32})/artifacts(?:/(?!\.\.(?:/|$))[^/\\%]+)*")
_SEARCH = re.compile(r"[a-z-]+/(?:search|search-datasets|get-latest-versions)")
_KNOWN = "recitative.authorization"  # MLflow asks several times a request

Body = dict[str, Any]
Rule = Callable[[Body, str], str | None]  # what is wrong, or None


def authorize() -> Authorization | Response:
    """Who asks, if they may ask this; else the answer that refuses them."""
    if _KNOWN not in request.environ:
        request.environ[_KNOWN] = _authorize()
    verdict: Authorization | Response = request.environ[_KNOWN]
    return verdict


def _authorize() -> Authorization | Response:
    who: Authorization | Response = auth.authenticate_request_basic_auth()
    if not isinstance(who, Authorization):
        return who
    user = str(who.username)
    try:
        reason = _refusal(user, bool(auth.store.get_user(user).is_admin))
    except MlflowException as error:  # there is no such run or version
        status = error.get_http_status_code()
        return Response(error.serialize_as_json(), status, mimetype="application/json")
    if reason is None:
        return who
    text = json.dumps({"error_code": "PERMISSION_DENIED", "message": reason})
    return Response(text, 403, mimetype="application/json")


def _refusal(user: str, admin: bool) -> str | None:
    """Why this request is refused; a request that makes something is signed with the user's name."""
    found = _API.fullmatch(request.path)
    what = found[1] if found else ""
    artifact = _ARTIFACT.fullmatch(what)
    if request.method in READS:
        open_page = request.path in PAGES or (
            found and not what.startswith(("gateway", "assistant"))
        )
        return None if admin or open_page else _closed()
    rule = WRITES.get((request.method, what))
    if admin and rule not in (_new_experiment, _new_run, _new_version):
        return None
    if request.path == "/graphql" or (request.method == "POST" and _SEARCH.fullmatch(what)):
        return None
    if artifact:
        inside = _OF_RUN.fullmatch(artifact[1] or "")
        return _of_another(inside[1], user) if inside else "write below a run's own artifacts only"
    if what == "upload-artifact":
        return _own_run(request.args.to_dict(), user)
    if rule is None:
        return _closed()
    body = request.get_json(force=True, silent=True)
    return rule(body, user) if isinstance(body, dict) else "the request holds no JSON object"


def _closed() -> str:
    return f"{request.method} {request.path}: only the administrator may do this"


def _given(body: Body, *names: str) -> list[str]:
    """The values of a field under each of its names; MLflow also reads runId for run_id."""
    camel = [re.sub(r"_(.)", lambda found: found[1].upper(), name) for name in names]
    return [str(body[name]) for name in dict.fromkeys((*names, *camel)) if body.get(name)]


@lru_cache(maxsize=10_000)
def _owner(run_id: str) -> str:
    """Who made a run; it does not change."""
    return str(handlers._get_tracking_store().get_run(run_id).data.tags.get(OWNER, ""))


def _of_another(run_id: str, user: str) -> str | None:
    owner = _owner(run_id)
    return None if owner == user else f"{run_id}: this run is {owner or 'nobody'}'s, not {user}'s"


def _own_run(body: Body, user: str) -> str | None:
    runs = _given(body, "run_id", "run_uuid")
    if not runs:
        return "the request names no run"
    return next(filter(None, (_of_another(run_id, user) for run_id in runs)), None)


def _write_to_run(body: Body, user: str) -> str | None:
    """Their own, and the name on it stays theirs."""
    if body.get("key") == OWNER:
        body["value"] = user
    if any(_is_owner(tag) for tag in body.get("tags") or ()):
        _sign(body, user)
    return _own_run(body, user)


def _delete_run_tag(body: Body, user: str) -> str | None:
    return f"{OWNER}: stays" if body.get("key") == OWNER else _own_run(body, user)


def _is_owner(tag: Any) -> bool:
    return isinstance(tag, dict) and tag.get("key") == OWNER


def _sign(body: Body, user: str) -> None:
    others = [tag for tag in body.get("tags") or () if not _is_owner(tag)]
    body["tags"] = [*others, {"key": OWNER, "value": user}]


def _new_experiment(body: Body, user: str) -> str | None:
    """Without a place of its own: MLflow would write to any that the server can reach."""
    if _given(body, "artifact_location"):
        return "artifact_location: leave it out; artifacts lie where this server keeps them"
    return None


def _new_run(body: Body, user: str) -> str | None:
    body.pop("userId", None)
    body["user_id"] = user
    _sign(body, user)
    return None


def _new_version(body: Body, user: str) -> str | None:
    """Of what lies among a run's artifacts: MLflow would read any place that the server can reach."""
    source = body.get("source")
    path = source.removeprefix("mlflow-artifacts:/") if isinstance(source, str) else ""
    if path == source or not _OF_RUN.fullmatch(path):
        return f"source: {source!r} is not among a run's artifacts on this server"
    _sign(body, user)
    return None


def _delete_version(body: Body, user: str) -> str | None:
    name, number = str(body.get("name")), str(body.get("version"))
    found = handlers._get_model_registry_store().get_model_version(name, number)
    owner = found.tags.get(OWNER, "")
    return None if owner == user else f"{name}/{number}: this version is {owner or 'nobody'}'s"


def _version_tag(body: Body, user: str) -> str | None:
    key = body.get("key")
    return f"{key}: is written once, with the version" if key in (OWNER, SHA256) else None


def _anybody(body: Body, user: str) -> str | None:
    return None


OF_OWN_RUNS = (
    "update", "delete", "restore", "log-metric", "log-parameter", "log-inputs", "outputs", "log-model",
)  # fmt: skip
WRITES: dict[tuple[str, str], Rule] = {
    ("POST", "experiments/create"): _new_experiment,
    ("POST", "runs/create"): _new_run,
    **dict.fromkeys((("POST", f"runs/{what}") for what in OF_OWN_RUNS), _own_run),
    ("POST", "runs/log-batch"): _write_to_run,
    ("POST", "runs/set-tag"): _write_to_run,
    ("POST", "runs/delete-tag"): _delete_run_tag,
    ("POST", "registered-models/create"): _anybody,
    ("PATCH", "registered-models/update"): _anybody,  # its description
    ("POST", "registered-models/set-tag"): _anybody,
    ("POST", "registered-models/alias"): _anybody,
    ("DELETE", "registered-models/alias"): _anybody,
    ("POST", "model-versions/create"): _new_version,
    ("PATCH", "model-versions/update"): _anybody,  # its description
    ("POST", "model-versions/set-tag"): _version_tag,
    ("DELETE", "model-versions/delete-tag"): _version_tag,
    ("DELETE", "model-versions/delete"): _delete_version,
    ("PATCH", "users/update-password"): lambda body, user: (
        None if body.get("username") == user else "the administrator changes others' passwords"
    ),
}
