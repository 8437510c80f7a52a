"""A small hub on localhost: repositories as the Hugging Face hub serves them, plain files as other hosts do.

Large files are redirected to another host, as the hub does with its storage. The server can be told to cut
every file short, to serve damaged bytes, and to have lost a file that it lists.
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")


@dataclass
class Served:
    """What the hub has, how it misbehaves, and what it was asked for.

    `asked` are the files sent, each with the byte it began at; `told_the_token` those asked for with a token.
    """

    repositories: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)
    cut_at: int | None = None
    damaged: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()
    asked: list[tuple[str, int]] = field(default_factory=list)
    told_the_token: set[str] = field(default_factory=set)
    address: str = ""
    storage: str = ""


@contextmanager
def serve(served: Served) -> Iterator[Served]:
    """Serve in a thread while the body runs, at `served.address` and, for large files, `served.storage`."""
    handler = type("Handler", (HubHandler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.address = f"http://127.0.0.1:{server.server_port}"
    served.storage = f"http://localhost:{server.server_port}"  # another host, as far as a client can see
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class HubHandler(BaseHTTPRequestHandler):
    served: Served

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *args: object) -> None:
        """Say nothing: a test's output is its own."""

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/"):
            self.answer_listing(path.removeprefix("/api/models/").removesuffix("/revision/main"))
        elif found := re.fullmatch(r"/(.+)/resolve/(?:main|[0-9a-f]{40})/(.+)", path):
            self.answer_file(*found.groups(), body)
        elif path in self.served.files:
            self.send_bytes(path, self.served.files[path], {}, body)
        else:
            self.send_nothing({})

    def answer_listing(self, repo_id: str) -> None:
        if repo_id not in self.served.repositories:
            return self.send_nothing({"X-Error-Code": "RepoNotFound"})
        siblings = [{"rfilename": name} for name in self.served.repositories[repo_id]]
        listing = {"id": repo_id, "modelId": repo_id, "sha": COMMIT, "siblings": siblings, "tags": []}
        self.send_bytes(self.path, json.dumps(listing).encode(), {"Content-Type": "application/json"}, True)

    def answer_file(self, repo_id: str, name: str, body: bool) -> None:
        content = self.served.repositories.get(repo_id, {}).get(name)
        headers = {"X-Repo-Commit": COMMIT}
        if content is None or name in self.served.lost:
            return self.send_nothing(headers | {"X-Error-Code": "EntryNotFound"})
        if not name.endswith(LARGE):
            return self.send_bytes(name, content, headers | {"ETag": f'"{git_id(content)}"'}, body)
        etag = hashlib.sha256(content).hexdigest()
        self.served.files[f"/storage/{etag}/{name}"] = content
        large = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
        self.send_response(302)
        self.send_headers(headers | large | {"Location": f"{self.served.storage}/storage/{etag}/{name}"}, 0)

    def send_bytes(self, path: str, content: bytes, headers: dict[str, str], body: bool) -> None:
        name = path.rpartition("/")[2]
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or (0, 0))[1])
        if body:
            self.served.asked.append((name, start))
        if "Authorization" in self.headers:
            self.served.told_the_token.add(name)
        if name in self.served.damaged:
            content = bytes(reversed(content))
        if start >= len(content) > 0:
            self.send_response(416)
            return self.send_headers({"Content-Range": f"bytes */{len(content)}"}, 0)
        self.send_response(206 if start else 200)
        self.send_headers(headers, len(content) - start)
        if body:
            self.wfile.write(content[start : self.end_of(name, start, content)])

    def end_of(self, name: str, start: int, content: bytes) -> int:
        """Return where a body ends: large files break off when the server was told so."""
        cut = self.served.cut_at
        return len(content) if cut is None or len(content) - start <= cut else start + cut

    def send_nothing(self, headers: dict[str, str]) -> None:
        self.send_response(404)
        self.send_headers(headers, 0)

    def send_headers(self, headers: dict[str, str], length: int) -> None:
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


def git_id(content: bytes) -> str:
    """Return the id that git gives a file: what the hub names small files by."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
