"""Downloads from a real server on this machine, which can be told to break off."""

import hashlib
import random
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.readers.local_files import LocalFiles
from tsumugi.corpus.sources.download import download
from tsumugi.errors import TsumugiError

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """``asked``: ranges asked for; ``most``: bytes before connections break; ``ranges``: whether it can."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            served.asked.append(self.headers.get("Range"))
            if not self.path.endswith(".bin"):
                return self.send_error(404)
            start = re.match(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(start[1]) if start and served.ranges else 0
            if start >= len(CONTENT):
                return self.send_error(416)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            most = served.most.pop(0) if served.most else len(CONTENT)
            self.wfile.write(CONTENT[start : start + most])
            self.close_connection = True

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.asked, served.most, served.ranges = [], [], True
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{served.server_port}/a%20corpus.bin"
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def test_a_file_is_fetched_once(server, tmp_path):
    path = download(server.url, tmp_path / "data", SHA256)
    assert path == tmp_path / "data/a corpus.bin" and path.read_bytes() == CONTENT
    assert download(server.url, tmp_path / "data", SHA256) == path
    assert server.asked == [None]


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.most = [1_000_000, 5, 5, 5, 5, 1_000_000, 5, 5, 5, 5]
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT
    begins = [int(asked.strip("bytes=-")) for asked in server.asked[1:]]
    assert 0 <= 1_000_000 - begins[0] < 2**16 and begins[:5] == [begins[0]] * 5
    assert begins[5:] == [2 * begins[0]] * 5


def test_a_later_call_goes_on_with_what_has_come(server, tmp_path):
    server.most = [1_000_000, *[0] * 5]
    kept = r"cannot be fetched .* what has come so far is kept in .*a corpus\.bin\.part"
    with pytest.raises(TsumugiError, match=kept):
        download(server.url, tmp_path, SHA256)
    (part,) = tmp_path.iterdir()
    size = part.stat().st_size
    assert part.name == "a corpus.bin.part" and size > 900_000
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT
    assert server.asked[-1] == f"bytes={size}-"


def test_a_server_without_ranges_begins_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "a corpus.bin.part").write_bytes(b"old" * 1000)
    assert download(server.url, tmp_path, SHA256).read_bytes() == CONTENT


def test_another_hash_than_the_pinned_one_leaves_nothing(server, tmp_path):
    with pytest.raises(TsumugiError, match=rf"its sha256 is {SHA256}, but {'0' * 64} is pinned"):
        download(server.url, tmp_path, "0" * 64)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(TsumugiError, match="404"):
        download(server.url.replace(".bin", ".zip"), tmp_path, SHA256)
    assert len(server.asked) == 1


def test_a_corpus_may_lie_on_the_web(server, tmp_path):
    spec = {"reader": "local_files", "files": [server.url], "licence": "CC0-1.0", "sha256": {"a corpus.bin": SHA256}}
    (file,) = fetch_corpus(spec, tmp_path / "own", tmp_path / "raw.json")["results"]["files"]
    assert file["file"] == str(tmp_path / "own/a corpus.bin") and file["bytes"] == len(CONTENT)


def test_an_address_without_a_hash_is_refused(server):
    with pytest.raises(ValueError, match=r"needs its hash, as sha256: \{a corpus\.bin: …\}"):
        LocalFiles(reader="local_files", format="jsonl", files=(server.url,))
