"""A server on the loopback that speaks W&B's API as far as its client does here, and keeps what it is sent.

What it answers is what wandb 0.31 and wandb-workspaces 0.4 ask for; it checks no account and draws nothing."""

import base64
import gzip
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ENTITY = "someone"


class Server:
    """What was received.

    Attributes:
        url: of the server.
        runs: by W&B's id of a run, what upserts said of it, later ones over earlier ones.
        history: by id, the lines of the run's history.
        summary: by id, the last summary.
        exits: by id, the exit code that the run ended with.
        files: contents of what was uploaded, by run or artifact and name.
        artifacts: name, type and files of each artifact that was committed.
        operations: names of the GraphQL operations, in order.
        views: saved workspaces and reports, by their id.
        unknown: operations that this server does not know, which no test should see.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = {}
        self.summary: dict[str, dict[str, Any]] = {}
        self.exits: dict[str, int] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.views: dict[str, dict[str, Any]] = {}
        self.unknown: list[str] = []

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of a GraphQL operation, by the field it asks for first."""
        known: dict[str, Callable[[dict[str, Any]], Any]] = {
            "upsertBucket": self._upsert,
            "createRunFiles": self._run_files,
            "createArtifact(": self._artifact,
            "createArtifactManifest": self._manifest,
            "createArtifactFiles": self._artifact_files,
            "updateArtifactManifest": self._manifest,
            "commitArtifact": self._commit,
            "upsertView": self._view,
            "allViews": self._views_named,
            "internalId": self._project,
            "view(": lambda said: self.views[said["reportId"]],
            "models(": self._projects,
            "bucket(": lambda _: None,
            "artifactType": lambda _: {"artifact": None},
            "viewer": lambda _: {
                "id": "u", "entity": ENTITY, "username": ENTITY, "email": "", "flags": "{}", "teams": {"edges": []},
                "apiKeys": {"edges": []}, "admin": False, "name": ENTITY,
            },
            "serverInfo": lambda _: {
                "cliVersionInfo": {"max_cli_version": "99"}, "latestLocalVersionInfo": None, "features": [],
            },
        }  # fmt: skip
        name = next((name for name in known if name in query), None)
        self.operations.append(name or query.split("(")[0].strip())
        if name is None:
            self.unknown.append(query)
            return {}
        field = {"bucket(": "model", "artifactType": "project", "allViews": "project", "internalId": "project"}.get(
            name, name
        )
        return {field.rstrip("("): known[name](variables)}

    def _upsert(self, said: dict[str, Any]) -> dict[str, Any]:
        name = said["name"]
        run = self.runs.setdefault(name, {})
        run.update({key: value for key, value in said.items() if value is not None})
        project = {"id": "p", "name": run.get("project"), "entity": {"id": "e", "name": ENTITY}}
        bucket = {
            "id": f"run-{name}", "name": name, "displayName": run.get("displayName", name), "description": "",
            "config": run.get("config", "{}"), "sweepName": None, "historyLineCount": len(self.history.get(name, [])),
            "project": project,
        }  # fmt: skip
        return {"bucket": bucket, "inserted": True}

    def _run_files(self, said: dict[str, Any]) -> dict[str, Any]:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{said['run']}/{name}"} for name in said["files"]]
        return {"runID": f"run-{said['run']}", "uploadHeaders": [], "files": files}

    def _artifact(self, said: dict[str, Any]) -> dict[str, Any]:
        asked = said["input"]
        artifact = {"name": asked["artifactCollectionName"], "type": asked["artifactTypeName"], "committed": False}
        self.artifacts.append(artifact | {"run": asked["runName"]})
        number = f"artifact{len(self.artifacts) - 1}"
        return {"artifact": {"id": number, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}}

    def _manifest(self, said: dict[str, Any]) -> dict[str, Any]:
        upload = {"uploadUrl": f"{self.url}/upload/{said['artifactID']}/{said['name']}", "uploadHeaders": []}
        return {"artifactManifest": {"id": "m", "file": {"id": "f", **upload}}}

    def _artifact_files(self, said: dict[str, Any]) -> dict[str, Any]:
        nodes = [
            {
                "storagePath": f"{asked['artifactID']}/{asked['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "uploadUrl": f"{self.url}/upload/{asked['artifactID']}/{asked['name']}",
                "artifact": {"id": asked["artifactID"]},
            } for asked in said["input"]["artifactFiles"]
        ]  # fmt: skip
        return {"files": {"edges": [{"node": node} for node in nodes]}}

    def _commit(self, said: dict[str, Any]) -> dict[str, Any]:
        number = said["artifactID"]
        self.artifacts[int(number.removeprefix("artifact"))]["committed"] = True
        return {"artifact": {"id": number, "digest": "d"}}

    def _view(self, said: dict[str, Any]) -> dict[str, Any]:
        number = said.get("id") or base64.b64encode(f"View:{len(self.views) + 1}".encode()).decode()
        project = {"id": "p", "name": said["projectName"], "entityName": said["entityName"]}
        self.views.setdefault(number, {}).update(
            said | {"id": number, "project": project, "updatedAt": "2026-01-01T00:00:00"}
        )
        return {"view": self.views[number], "inserted": not said.get("id")}

    def _views_named(self, said: dict[str, Any]) -> dict[str, Any]:
        found = [view for view in self.views.values() if view["name"] == said["viewName"]]
        return {"allViews": {"edges": [{"node": view} for view in found]}}

    def _project(self, said: dict[str, Any]) -> dict[str, Any] | None:
        known = {run.get("project") for run in self.runs.values()}
        number = base64.b64encode(b"ProjectInternalId:1").decode()
        return {"id": "p", "internalId": number} if said["projectName"] in known else None

    def _projects(self, _: dict[str, Any]) -> dict[str, Any]:
        projects = {run.get("project") for run in self.runs.values()} - {None}
        nodes = [
            {"id": name, "name": name, "entityName": ENTITY, "createdAt": "", "isBenchmark": False, "user": None}
            for name in projects
        ]
        return {
            "edges": [{"node": node, "cursor": ""} for node in nodes],
            "pageInfo": {"endCursor": None, "hasNextPage": False},
        }


class _Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that leave."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kept: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _reply(self, data: Any) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(content) if self.headers.get("Content-Encoding") == "gzip" else content

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        _, _, owner, name = self.path.split("/", 3)
        self.kept.files[owner, name] = self._body()
        self._reply({})

    def do_POST(self) -> None:
        content, kept = self._body(), self.kept
        if self.path == "/graphql":
            said = json.loads(content)
            self._reply({"data": kept.answer(said["query"], said.get("variables") or {})})
            return
        if self.path.endswith("/file_stream"):
            run, said = self.path.split("/")[-2], json.loads(content)
            for name, part in said.get("files", {}).items():
                lines = [json.loads(line) for line in part["content"]]
                if name == "wandb-history.jsonl":
                    kept.history.setdefault(run, []).extend(lines)
                elif name == "wandb-summary.json":
                    kept.summary[run] = lines[-1]
            if said.get("complete"):
                kept.exits[run] = said["exitcode"]
        self._reply({"exitcode": None, "limits": {}})


@contextmanager
def serving() -> Iterator[Server]:
    """Serve for as long as the context lasts, and stop."""
    handler = type("Handler", (_Handler,), {})
    with _Quiet(("127.0.0.1", 0), handler) as server:
        handler.kept = kept = Server(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
