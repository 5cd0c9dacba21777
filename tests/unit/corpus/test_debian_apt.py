"""Fetching by apt-get itself, from a package source that the test makes: no network is needed."""

import gzip
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from corpus_samples import MAN_PAGE, NOVEL, make_deb, make_tar
from tsumugi.corpus.fetch_corpus import fetch_corpus, recorded_files
from tsumugi.corpus.readers import READERS
from tsumugi.corpus.readers.debian_docs import DebianDocs
from tsumugi.errors import TsumugiError

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="there is no apt-get here")
SUITE = "dists/test"


def described(path, root):
    """The fields by which an index names a file."""
    data = path.read_bytes()
    return data, f" {hashlib.sha256(data).hexdigest()} {len(data)} {path.relative_to(root)}"


def source_archive(pool):
    data = NOVEL.format(long="").encode()
    archive = make_tar(pool / "sentencepiece_0.1.orig.tar.gz", {"sentencepiece-0.1/data/wagahaiwa_nekodearu.txt": data})
    lines = []
    dsc = "Format: 3.0 (quilt)\nSource: sentencepiece\nVersion: 0.1-1\n"
    for path, text in ((archive, None), (pool / "sentencepiece_0.1-1.dsc", dsc)):
        if text is not None:
            path.write_text(text)
        lines.append(described(path, pool)[1])
    head = "Package: sentencepiece\nBinary: sentencepiece\nVersion: 0.1-1\nArchitecture: any\nFormat: 3.0 (quilt)\n"
    return f"{head}Directory: pool\nChecksums-Sha256:\n" + "\n".join(lines) + "\n"


@pytest.fixture(params=["list", "sources"])
def package_source(request, tmp_path, monkeypatch):
    """A package source in a folder, the only one that apt-get knows of; it is named in either form there is."""
    root = tmp_path / "source"
    deb = make_deb(root / "pool/kamome_1.0-1_all.deb", "kamome", {"usr/share/man/ja/man1/kamome.1": MAN_PAGE.encode()})
    data = deb.read_bytes()
    package = "Package: kamome\nVersion: 1.0-1\nArchitecture: all\nMaintainer: t <t@example.org>\nSection: science\n"
    package += f"Filename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    machine = subprocess.run(["apt-config", "shell", "A", "APT::Architecture"], capture_output=True, text=True).stdout
    indexes = {
        f"binary-{machine.strip()[3:-1]}/Packages": package + "Description: birds\n",
        "source/Sources": source_archive(root / "pool"),
        "i18n/Translation-ja": "Package: kamome\nDescription-ja: 鳥を数える\n 港の鳥を数えます。\n",
    }
    sums = []
    for name, text in indexes.items():
        path = root / SUITE / "main" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        sums.append(described(path, root / SUITE)[1])
    (root / SUITE / "Release").write_text("Suite: test\nCodename: test\nSHA256:\n" + "\n".join(sums) + "\n")
    parts = tmp_path / "parts"
    parts.mkdir()
    forms = {
        "list": f"# the birds\ndeb [trusted=yes] file:{root} test main\n",
        "sources": f"Types: deb\nURIs: file:{root}\nSuites: test\nComponents: main\nTrusted: yes\n",
    }
    (parts / f"birds.{request.param}").write_text(forms[request.param])
    settings = tmp_path / "apt.conf"
    settings.write_text(f'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "{parts}";\n')
    monkeypatch.setenv("APT_CONFIG", str(settings))
    monkeypatch.chdir(tmp_path)
    return root


EVERYTHING = {"packages": ["kamome"], "source_packages": ["sentencepiece"], "package_descriptions": True}


def test_packages_source_archives_and_descriptions_are_fetched(package_source):
    spec = DebianDocs(reader="debian_docs", **EVERYTHING).model_dump(mode="json")
    fetch_corpus(spec, Path("data/birds"), Path("raw.json"))
    files = recorded_files("raw.json")
    assert [(file.name, file.version) for file in files[:2]] == [("kamome", "1.0-1"), ("sentencepiece", "0.1")]
    found = [(document.source, document.category) for document in READERS["debian_docs"].read(files, spec)]
    novel = "sentencepiece:sentencepiece-0.1/data/wagahaiwa_nekodearu.txt"
    assert found == [
        ("kamome:usr/share/man/ja/man1/kamome.1", "man1"),
        (f"{novel}#1", "novel"),
        (f"{novel}#2", "novel"),
        ("Translation-ja:kamome", "science"),
    ]
    package_source.rename("gone")  # what lies here is not fetched again
    fetch_corpus(spec, Path("data/birds"), Path("again.json"))
    assert recorded_files("again.json") == files


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"packages": ["tsubame"]}, r"corpora\.birds\.packages: apt-get could not download tsubame:\n[^$]*tsubame"),
        ({"source_packages": ["tsubame"]}, r"corpora\.birds\.source_packages: apt-get could not download tsubame:"),
    ],
)
def test_a_package_that_there_is_not_is_named(package_source, settings, message):
    spec = DebianDocs(reader="debian_docs", **settings).model_dump(mode="json")
    with pytest.raises(TsumugiError, match=message):
        fetch_corpus(spec, Path("data/birds"), Path("raw.json"))
    assert not list(Path("data/birds").iterdir()), "nothing half fetched stays"


def test_without_japanese_descriptions_it_is_said(package_source):
    release = package_source / SUITE / "Release"
    kept = [line for line in release.read_text().splitlines() if "Translation" not in line]
    release.write_text("\n".join(kept) + "\n")
    (package_source / SUITE / "main/i18n/Translation-ja").unlink()
    spec = DebianDocs(reader="debian_docs", package_descriptions=True).model_dump(mode="json")
    with pytest.raises(TsumugiError, match=r"package_descriptions: .*\n.*no index Translation-ja"):
        fetch_corpus(spec, Path("data/birds"), Path("raw.json"))


def test_indexes_are_kept_in_one_form(package_source):
    spec = DebianDocs(reader="debian_docs", package_descriptions=True).model_dump(mode="json")
    for folder in ("data/one", "data/two"):
        fetch_corpus(spec, Path(folder), Path("raw.json"))
    one, two = ({path.name: path.read_bytes() for path in Path(f"data/{n}").iterdir()} for n in ("one", "two"))
    assert one == two and len(one) == 2
    assert any(b"Description-ja" in gzip.decompress(data) for data in one.values())
