"""What a file is that is no UTF-8 text, told by how it begins.

Text formats are read line by line: of an archive or a database, a line here and there can look like a record. So it is
refused as a whole, before its first line.
"""

import codecs
import re
import tarfile

LOOKED_AT = 4096  # bytes of a file
_UNPACK = "unpack it, and give the files in it"
_EXTRACT = "give the text in it as a file of the corpus' format"
_CONVERT = "convert it, for example with iconv -f {} -t UTF-8"
_BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
# Without a mark: two ASCII characters, as every table, JSON or XML begins, and most texts.
_WITHOUT_MARK = {
    re.compile(rb"(?:[\x01-\x7f]\0{3}){2}"): "UTF-32LE",
    re.compile(rb"(?:\0{3}[\x01-\x7f]){2}"): "UTF-32BE",
    re.compile(rb"(?:[\x01-\x7f]\0){2}"): "UTF-16LE",
    re.compile(rb"(?:\0[\x01-\x7f]){2}"): "UTF-16BE",
}
# The first block of a bzip2 file is checked too: a text may begin with "BZh".
GZIP, BZIP2, XZ, ZSTD = rb"\x1f\x8b", rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", rb"\xfd7zXZ\0", rb"\x28\xb5\x2f\xfd"
_PACKED = {  # compressed files and archives
    GZIP: "gzip data",
    BZIP2: "bzip2 data",
    XZ: "xz data",
    ZSTD: "zstd data",
    rb"\x04\x22\x4d\x18": "lz4 data",
    rb"\x5d\0\0.{0,2}[\0\xff]": "lzma data",
    rb"\x1f[\x9d\xa0]": "compress data",
    rb"PK(?:\x03\x04|\x05\x06|\x07\x08)": "a zip archive (as .docx, .xlsx, .epub and .npz are)",
    rb"7z\xbc\xaf\x27\x1c": "a 7z archive",
    rb"Rar!\x1a\x07": "a rar archive",
    rb".{2}-l(?:h[0-7d]|z[s45])-": "an lzh archive",
    rb"MSCF\0": "a cab archive",
    rb"!<(?:arch|thin)>\n": "an ar archive (as .deb and .a are)",
    rb"07070[127][0-9A-Fa-f]{70}|\xc7\x71|\x71\xc7": "a cpio archive",
    rb"WARC/\d\.\d+\r?\n": "a WARC archive of web pages",
}
_OTHERS = {
    rb"%PDF-\d": "a PDF",
    rb"%!PS": "PostScript",
    rb"\{\\rtf": "RTF",
    rb"\xd0\xcf\x11\xe0": "an office document",
    rb"SQLite format 3\0": "an SQLite database",
    rb"PAR1\x15": "a Parquet file",
    rb"ARROW1\0|FEA1\0|\xff{4}.{3}\0": "an Arrow file",
    rb"Obj\x01": "an Avro file",
    rb"\x80[\x02-\x05]|\([ldt]p\d+\n|c(?:copy_reg|__builtin__|builtins|collections)\n": "a Python pickle",
    rb"\x93NUMPY": "a NumPy array",
    rb"\x89HDF\r\n": "an HDF5 file",
    rb"\x89PNG|GIF8[79]a|\xff\xd8\xff|RIFF....WEBP|II\*\0|MM\0\*": "a picture",
    rb"\x7fELF|MZ.{0,62}\0": "a program",
}
_BINARY = re.compile(rb"\0{4}")


def why_no_text(head: bytes) -> str | None:
    """What a file is and what to do with it, by its first :data:`LOOKED_AT` unpacked bytes; None of a text."""
    for mark, name in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return f"is {name}, not UTF-8; {_CONVERT.format(name)}"
    for kinds, advice in ((_PACKED, _UNPACK), (_OTHERS, _EXTRACT)):
        for pattern, name in kinds.items():
            if re.match(pattern, head, re.DOTALL):
                return f"is {name}, not text; {advice}"
    if _is_tar(head):
        return f"is a tar archive, not text; {_UNPACK}"
    for compiled, name in _WITHOUT_MARK.items():
        if compiled.match(head):
            return f"looks like {name}, not UTF-8; {_CONVERT.format(name)}"
    if found := _BINARY.search(head):
        return f"is no text: there are zero bytes at byte {found.start():,}; give files of the corpus' format only"
    return None


def _is_tar(head: bytes) -> bool:
    """Whether the first block is a header whose checksum is right: also of a tar older than the mark ``ustar``."""
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
