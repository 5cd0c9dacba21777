"""Raw files as streams: every compression, damage, and lines that are too long."""

import bz2
import gzip
import lzma
import random
import tracemalloc

import pyarrow as pa
import pytest

from tsumugi.corpus.storage.streams import lines, open_stream
from tsumugi.errors import TsumugiError


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd, "plain": bytes}
chosen = random.Random(0)
TEXT = "\n".join("".join(chosen.choices("あいうえおかきくけこ", k=50)) for _ in range(20_000)).encode()


def read(path):
    with open_stream(path) as stream:
        return b"".join(iter(stream.read, b""))


@pytest.mark.parametrize("name", COMPRESS)
def test_every_compression_is_told_by_how_the_file_begins(tmp_path, name):
    path = tmp_path / "raw"
    path.write_bytes(COMPRESS[name](TEXT))
    assert read(path) == TEXT
    path.write_bytes(COMPRESS[name](TEXT[:1000]) + COMPRESS[name](TEXT[1000:]))
    assert read(path) == TEXT, "several streams in one file, as parallel compressors write them"


def test_a_skippable_frame_may_stand_before_and_between_those_of_zstd(tmp_path):
    skippable = b"\x50\x2a\x4d\x18\4\0\0\0size"
    path = tmp_path / "raw"
    path.write_bytes(skippable + zstd(TEXT[:1000]) + skippable + zstd(TEXT[1000:]))
    assert read(path) == TEXT


@pytest.mark.parametrize("name", [name for name in COMPRESS if name != "plain"])
def test_a_file_that_was_cut_off_is_named_with_the_byte(tmp_path, name):
    path = tmp_path / "raw"
    whole = COMPRESS[name](TEXT)
    for size in (len(whole) // 2, len(whole) - 2):
        path.write_bytes(whole[:size])
        with pytest.raises(TsumugiError, match=r"raw: damaged or cut off at byte [\d,]+ of the file.*fetch it again"):
            read(path)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz"])
def test_a_flipped_byte_is_noticed(tmp_path, name):
    path = tmp_path / "raw"
    whole = bytearray(COMPRESS[name](TEXT))
    whole[len(whole) // 2] ^= 0x10
    path.write_bytes(whole)
    with pytest.raises(TsumugiError, match="raw: damaged"):
        read(path)


@pytest.mark.parametrize("name", ["gz", "bz2", "xz", "zst"])
def test_a_later_stream_that_is_damaged_at_its_beginning_is_no_end(tmp_path, name):
    path = tmp_path / "raw"
    first, second = COMPRESS[name](TEXT[:1000]), bytearray(COMPRESS[name](TEXT[1000:]))
    second[0] ^= 0x10
    for behind in (second, b"something else"):
        path.write_bytes(first + behind)
        with pytest.raises(TsumugiError, match="raw: damaged"):
            read(path)


def test_zero_bytes_behind_the_streams_of_an_xz_file_are_padding(tmp_path):
    path = tmp_path / "raw"
    first, second = lzma.compress(TEXT[:1000]), lzma.compress(TEXT[1000:])
    for between, behind in ((4, 8), (0, 200_000), (70_000, 0)):
        path.write_bytes(first + bytes(between) + second + bytes(behind))
        assert read(path) == TEXT
    path.write_bytes(first + bytes(5) + second)
    with pytest.raises(TsumugiError, match="5 zero bytes"):
        read(path)


@pytest.mark.parametrize("name", ["gz", "bz2"])
def test_zero_bytes_behind_the_streams_of_a_gzip_or_bzip2_file_are_padding(tmp_path, name):
    """Tapes fill their last block; ``gzip -t`` and ``bzip2 -t`` accept it."""
    path = tmp_path / "raw"
    first, second = COMPRESS[name](TEXT[:1000]), COMPRESS[name](TEXT[1000:])
    for between, behind in ((0, 1), (3, 512), (70_000, 200_000)):
        path.write_bytes(first + bytes(between) + second + bytes(behind))
        assert read(path) == TEXT
    for behind in (b"x", b"\x1f", bytes(512) + b"x", bytes(3) + second[:-5]):
        path.write_bytes(first + behind)
        with pytest.raises(TsumugiError, match="raw: damaged"):
            read(path)


def test_a_wrong_checksum_at_the_end_is_noticed(tmp_path):
    for name, last in (("gz", -6), ("bz2", -3), ("xz", -12)):
        whole = bytearray(COMPRESS[name](TEXT))
        whole[last] ^= 0x10
        (tmp_path / "raw").write_bytes(whole)
        with pytest.raises(TsumugiError, match="raw: damaged"):
            read(tmp_path / "raw")


def test_what_unpacks_to_far_more_than_text_does_is_refused(tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(lzma.compress(bytes(200 * 2**20), preset=0))
    with pytest.raises(TsumugiError, match=r"bomb: byte [\d,]+: unpacks to more than 250 times its size"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TsumugiError, match=r"nothing: cannot be read \(No such file"):
        read(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\n\nb", "\n\n", "長い行です\nab\n長い行です"])
@pytest.mark.parametrize("limit", [3, 100])
def test_lines_are_those_of_the_text_cut_at_the_limit(tmp_path, text, limit):
    path = tmp_path / "raw"
    path.write_text(text)
    expected = [line.encode() for line in text.split("\n")]
    expected = expected[:-1] if not expected[-1] else expected
    found = list(lines(path, limit))
    assert [line.data for line in found] == [line[:limit] for line in expected]
    assert [line.length for line in found] == list(map(len, expected))
    assert [line.number for line in found] == list(range(1, len(expected) + 1))


def test_a_line_of_a_hundred_megabytes_takes_little_memory(tmp_path):
    path = tmp_path / "raw.gz"
    block = random.Random(0).randbytes(2**20).replace(b"\n", b" ")
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"before\n")
        for _ in range(100):
            file.write(block)
        file.write(b"\nafter\n")
    tracemalloc.start()
    found = [(line.number, line.length, len(line.data)) for line in lines(path, 2**20)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [(1, 6, 6), (2, 100 * 2**20, 2**20), (3, 5, 5)]
    assert peak < 16 * 2**20
