"""A server that answers as the Hugging Face hub does, as far as loading a data set goes."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds, and what it was asked for.

    Args:
        url: Of the server, without a slash at its end.
        files: By name of the data set and path in it.
        gated: Data sets that need a log-in.
        failures: By path in a data set, how often to answer 503 before it is served.
        served: By path, how many bytes of it went out.
        refused: By path, how often 503 was answered.
    """

    url: str
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    failures: dict[str, int] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


class Server(ThreadingHTTPServer):
    """Knows what it serves."""

    daemon_threads = True
    hub: Hub


class Handler(BaseHTTPRequestHandler):
    """Answers for the hub that its server holds."""

    server: "Server"
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        if path.startswith("api/datasets/"):
            self.answer_api(path.split("/")[2:])
        elif path.count("/") < 5:
            self.answer(404, b"")
        else:
            _, owner, name, _, _, *parts = path.split("/")
            self.answer_file(f"{owner}/{name}", "/".join(parts))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, b"[]")

    def answer_api(self, parts: list[str]) -> None:
        name, verb = "/".join(parts[:2]), parts[2] if len(parts) > 2 else ""
        if name in self.server.hub.gated:
            self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif name not in self.server.hub.files:
            self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif verb == "revision" and parts[3] not in (COMMIT, "main"):
            self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif verb == "tree":
            self.answer_tree(self.server.hub.files[name], "/".join(parts[4:]))
        else:
            self.answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())

    def answer_tree(self, files: dict[str, bytes], folder: str) -> None:
        entries = [
            {"type": "file", "oid": "0", "size": len(content), "path": path}
            for path, content in files.items()
            if path.startswith(folder)
        ]
        folders = {path.rpartition("/")[0] for path in files} - {"", folder}
        entries += [{"type": "directory", "oid": "0", "path": path} for path in folders]
        self.answer(200, json.dumps(entries).encode())

    def answer_file(self, name: str, path: str) -> None:
        content = self.server.hub.files.get(name, {}).get(path)
        if content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            return
        if self.server.hub.failures.get(path, 0) > self.server.hub.refused[path]:
            self.server.hub.refused[path] += 1
            self.answer(503, b"")
            return
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        start, _, end = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not end:
            self.answer(200, content, headers)
            return
        first = int(start) if start else max(0, len(content) - int(end))
        last = min(int(end), len(content) - 1) if start else len(content) - 1
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self.server.hub.served[path] += last + 1 - first
        self.answer(206, content[first : last + 1], headers)

    def answer(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for header, value in (headers or {}).items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serve on the loopback address."""
    with Server(("127.0.0.1", 0), Handler) as server:
        server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.hub
        server.shutdown()
        thread.join()
