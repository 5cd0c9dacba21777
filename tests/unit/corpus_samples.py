"""Raw files that the corpus tests make for themselves: a Debian package, and a spec for each job."""

import gzip
import io
import json
import tarfile
from pathlib import Path

from tsumugi.corpus.clean_shard import clean_shard
from tsumugi.corpus.fetch_corpus import fetch_corpus
from tsumugi.corpus.find_duplicates import find_duplicates
from tsumugi.corpus.normalize_shard import normalize_shard
from tsumugi.corpus.readers import READERS, strict
from tsumugi.corpus.shard_corpus import shard_corpus
from tsumugi.corpus.sign_shard import sign_shard
from tsumugi.layout import shard_name

MAN_PAGE = r""".\" a comment
.TH KAMOME 1 2020\-01\-01
.SH 名前
kamome \- 海辺の\fB鳥\fPを数える
.SH 書式
.B kamome
[\fI場所\fR]
.SH 説明
\fBkamome\fP は、港に集まる
鳥の数を数えて表示する。
.PP
This paragraph was left in English by the translators.
.TP
\fB\-a\fP, \fB\-\-all\fP
すべての鳥を数える。\" trailing
.IP \(bu 2
白い鳥だけを選ぶこともできる。
.nf
int main(void); /* 例 */
.fi
.TS
tab(:);
l l.
名前:意味
T{
kamome
T}:海の鳥
x:y
.TE
.SH 関連項目
.BR tori (1)
"""
MDOC_PAGE = r""".Dd January 1, 2020
.Dt TSUBAME 1
.Sh 名称
.Nm tsubame
.Nd 渡り鳥を見張る
.Sh 解説
.Nm
は
.Fl a
と
.Op Ar 場所
を受け取る。詳しくは
.Xr tori 7 ,
.Dq 鳥の本
を見よ。
.Bl -tag
.It Fl v Ar 水準
見張りの様子を細かく表示する。
.El
"""
HELP_PAGE = """<html><head><title>表の並べ替え</title></head><body><div id="DisplayArea">
<h1>表の並べ替え</h1><p class="paragraph">選んだ列を<span class="emph">値の順</span>に
並べ替えます。</p><p>Not translated at all.</p><div class="howtoget"><p>メニューから開く</p></div>
<h2>空の節</h2><h2>手順</h2><ul><li><p>列を選び、<span class="MAC">コマンド</span>キーを押します。</p></li></ul>
<p><a href="x">別のページへのリンク</a></p><div class="relatedtopics"><p>関連項目</p></div></div>
<p>画面の外の文章です。</p></body></html>"""


def make_deb(
    path: Path,
    package: str,
    files: dict[str, bytes],
    links: dict[str, str] | None = None,
    compression: str = "xz",
    version: str = "1.0-1",
) -> Path:
    """A Debian package with the given members, made with tar and ar by hand."""
    control = (
        f"Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: t\n"
    )
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _tar({"./control": control.encode()}, {}, "xz"),
        f"data.tar.{compression}".rstrip("."): _tar(
            {f"./{name}": data for name, data in files.items()}, links or {}, compression
        ),
    }
    archive = b"!<arch>\n"
    for name, data in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        archive += header.encode() + data + b"\n" * (len(data) % 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive)
    return path


def birds_package(folder: Path) -> Path:
    """The three pages above in a package, with a link and a redirection beside them."""
    man = "usr/share/man/ja/man1"
    files = {
        f"{man}/kamome.1.gz": gzip.compress(MAN_PAGE.encode(), mtime=0),
        f"{man}/tsubame.1.gz": gzip.compress(MDOC_PAGE.encode(), mtime=0),
        f"{man}/umineko.1.gz": gzip.compress(b".so man1/kamome.1\n", mtime=0),
        "usr/share/libreoffice/help/ja/text/scalc/guide/sort.html": HELP_PAGE.encode(),
        "usr/share/doc/birds/README": "読まれない文書です。".encode(),
    }
    return make_deb(folder / "birds_1.0-1_all.deb", "birds", files, {f"{man}/kagome.1.gz": "kamome.1.gz"})


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def run_to_clean(folder: Path, pattern: str, num_shards: int, **settings) -> list[Path]:
    """Every job from the raw files to the clean shards; returns the manifests of ``clean_shard``."""
    reader = {"reader": "local_files", "format": "jsonl", "columns": {"text": "text", "title": "title"}}
    normalize = {"cleaning": "plain", "normalize": "neologd", "filters": settings.get("filters", [])}
    fetch_corpus({**reader, "files": [pattern], "licence": "CC0-1.0"}, folder / "data/own", folder / "raw.json")
    into_shards({**reader, "num_shards": num_shards}, folder)
    names = [shard_name(shard) for shard in range(num_shards)]
    normalized = [folder / f"shards/{name}.json" for name in names]
    for name, output in zip(names, normalized, strict=True):
        normalize_shard(normalize, folder / "sharded.json", folder / f"raw/{name}.parquet", output)
    dedup = {"exact": settings.get("exact", True), "near": settings.get("near")}
    signatures = [folder / f"signatures/{name}.json" for name in names] if dedup["near"] else []
    for shard, output in zip(normalized, signatures, strict=False):
        sign_shard({"dedup": dedup}, shard, output)
    find_duplicates({"dedup": dedup}, normalized, signatures, folder / "duplicates.json")
    cleaned = [folder / f"clean/{name}.json" for name in names]
    for shard, output in zip(normalized, cleaned, strict=True):
        clean_shard({}, shard, folder / "duplicates.json", output, folder / f"dropped/{shard.stem}.parquet")
    return cleaned


def into_shards(spec: dict, folder: Path) -> dict:
    """The job of ``shard_corpus`` in a folder, with what the config says where nobody says anything; its results."""
    spec = {"bad_records": 0.0, "max_document_bytes": 2**24, "oversized": "refuse", **spec}
    outputs = (folder / "raw", folder / "rejected.parquet", folder / "sharded.json")
    return shard_corpus(spec, folder / "raw.json", *outputs)["results"]


def read_items(reader: str, path: Path, limit: int = 2**24) -> list:
    """What a reader makes of a file: documents, and what is none."""
    spec = {"reader": reader, "files": [str(path)], "licence": "unknown", "max_document_bytes": limit}
    return list(READERS[reader].read(READERS[reader].fetch(spec, path.parent, "own"), spec))


def read_all(reader: str, path: Path) -> list:
    """The documents of a file, which has nothing else."""
    return list(strict(read_items(reader, path)))


def _tar(files: dict[str, bytes], links: dict[str, str], compression: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in links.items():
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()


NOVEL = """鳥の話
作者の名
-------------------------------------------------------
【テキスト中に現れる記号について】
《》：ルビ
-------------------------------------------------------
［＃８字下げ］一［＃「一」は中見出し］
　港《みなと》に｜白い鳥《しろいとり》がいる。
「※［＃「口＋喜」、第3水準1-15-18］※［＃「土へん＋鳥」、U+2A133、1-2］」
［＃ここから２字下げ］
寒い［＃「寒い」に傍点］朝だ。
［＃８字下げ］二［＃「二」は中見出し］
{long}
　終りの段落だ。
底本：「鳥の本」
　　　1990年
"""


def make_tar(path, members):
    """A compressed archive of these contents by their names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
