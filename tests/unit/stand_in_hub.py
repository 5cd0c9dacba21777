"""A server that answers huggingface_hub as the hub does, for the few calls that fetch a dataset."""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 2  # files a page of a listing


class StandInHub(ThreadingHTTPServer):
    """Datasets by name and revision.

    Attributes:
        asked: method and path of every request.
        most: bytes after which the next connections break, one after another.
        flipped: whether the last byte of every file comes wrong.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.content_url = f"http://localhost:{self.server_port}"  # another host, as the real one has
        self.commits, self.refs, self.cards, self.gated = {}, {}, {}, set()
        self.asked, self.most, self.flipped = [], [], False

    def push(self, name, files, revision="main", card=None):
        """A commit with ``files`` (path -> bytes), which ``revision`` then names; returns its hash."""
        commit = hashlib.sha1(repr((name, revision, sorted(files.items()))).encode()).hexdigest()
        self.commits[name, commit] = files
        self.refs[name, revision] = self.refs[name, commit] = commit
        self.cards[commit] = card
        return commit


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer()

    def do_HEAD(self):
        self.answer()

    def answer(self):
        hub, url = self.server, urlsplit(self.path)
        hub.asked.append(f"{self.command} {url.path}")
        if match := re.fullmatch(r"/content/([0-9a-f]{64})", url.path):
            return self.content(match[1])
        match = re.fullmatch(
            r"/api/datasets/(?P<name>\w[^/]*/[^/]+)(/(?P<kind>revision|tree)/(?P<revision>[^/]+))?"
            r"|/datasets/(?P<of>\w[^/]*/[^/]+)/resolve/(?P<at>[^/]+)/(?P<path>.+)",
            url.path,
        )
        name = match and (match["name"] or match["of"])
        if not match or (name, "main") not in hub.refs:
            return self.refuse(401, "RepoNotFound")  # so that nobody learns which private ones there are
        if name in hub.gated:
            return self.refuse(403, "GatedRepo")
        commit = hub.refs.get((name, unquote(match["revision"] or match["at"] or "main")))
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        files = hub.commits[name, commit]
        if match["path"]:
            return self.resolve(files.get(unquote(match["path"])), commit)
        if match["kind"] != "tree":
            found = {"id": name, "sha": commit, "cardData": hub.cards[commit], "siblings": []}
            return self.send(json.dumps(found).encode())
        start = int(parse_qs(url.query).get("cursor", ["0"])[0])
        entries = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "data"}]
        entries += [
            {"type": "file", "oid": "0" * 40, "size": len(data), "path": path}
            | {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
            for path, data in files.items()
        ]
        headers = {}
        if start + PAGE < len(entries):
            headers["Link"] = f'<{hub.url}{url.path}?recursive=True&cursor={start + PAGE}>; rel="next"'
        return self.send(json.dumps(entries[start : start + PAGE]).encode(), headers)

    def resolve(self, data, commit):
        """Where the content of a file is: on another host, under its hash."""
        if data is None:
            return self.refuse(404, "EntryNotFound")
        sha256 = hashlib.sha256(data).hexdigest()
        linked = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
        return self.send(b"", {**linked, "Location": f"{self.server.content_url}/content/{sha256}"}, status=302)

    def content(self, sha256):
        """A file, or the rest of it; broken off where the test says so."""
        hub = self.server
        every = (data for files in hub.commits.values() for data in files.values())
        data = next(data for data in every if hashlib.sha256(data).hexdigest() == sha256)
        data = data[:-1] + bytes([data[-1] ^ 1]) if hub.flipped else data
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{sha256}"')
        if asked:
            hub.asked[-1] += f" from {start}"
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        most = hub.most.pop(0) if hub.most else len(data)
        self.wfile.write(data[start : start + most])
        self.close_connection = True

    def refuse(self, status, code):
        self.send(b"{}", {"X-Error-Code": code, "X-Error-Message": code}, status)

    def send(self, body, headers=None, status=200):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def standing_in():
    """A hub that serves while the block runs."""
    with StandInHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
