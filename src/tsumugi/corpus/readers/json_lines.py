"""Files with a JSON object on each line, as several readers have them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tsumugi.corpus.storage.rejected_record import CONVERT, OVERSIZED, Rejected, sample
from tsumugi.corpus.storage.streams import lines
from tsumugi.schema.strict_json import object_of

# A character may take twice its bytes as an escape (\u3042), and a record holds more than its text.
LINE_BYTES_PER_DOCUMENT_BYTE, LINE_BYTES_BESIDE = 4, 2**20


def line_limit(max_document_bytes: int) -> int:
    """How many bytes a line may have that holds a record with one document."""
    return LINE_BYTES_PER_DOCUMENT_BYTE * max_document_bytes + LINE_BYTES_BESIDE


DECODER = json.JSONDecoder(object_pairs_hook=object_of)


def json_lines(path: str, max_document_bytes: int) -> Iterator[tuple[int, Mapping[str, Any] | Rejected]]:
    """Number and object of every line that is not blank."""
    limit = line_limit(max_document_bytes)
    for number, data, length in lines(path, limit):
        if not data.strip():
            continue
        place = f"{path}:{number}"
        if length > limit:
            detail = f"a line of {length:,} bytes, more than {limit:,}; raise max_document_bytes if it is one document"
            yield number, Rejected(place, detail, sample(data), OVERSIZED)
            continue
        try:
            record = DECODER.decode(data.decode())
            if b"\\ud" in data or b"\\uD" in data:  # halves of characters, which only escapes can bring in
                json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            yield number, Rejected(place, f"not valid Unicode text ({error.reason})", sample(data))
        except UnicodeDecodeError as error:
            detail = f"not UTF-8 at byte {error.start} of the line ({error.reason}); {CONVERT}"
            yield number, Rejected(place, detail, sample(data))
        except (ValueError, RecursionError) as error:
            yield number, Rejected(place, f"malformed JSON ({error}); an object a line is wanted", sample(data))
        else:
            if isinstance(record, dict):
                yield number, record
            else:
                found = f"found a JSON {type(record).__name__}; an object a line is wanted"
                yield number, Rejected(place, found, sample(data))


def object_field(record: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any] | Rejected:
    """A field that must hold an object; a missing one, and None, count as an empty one."""
    value = record.get(key)
    if value is None or isinstance(value, dict):
        return value or {}
    return Rejected(place, f"the field {key!r} holds {type(value).__name__}, not an object", str(record)[:200])


def text_field(record: Mapping[str, Any], key: str, place: str) -> str | Rejected:
    """A field that must hold text; None counts as none."""
    if key not in record:
        return Rejected(place, f"no field {key!r} (found: {', '.join(map(str, record)) or 'none'})", str(record)[:200])
    value = record[key]
    if value is None:
        return ""
    if not isinstance(value, str):
        return Rejected(place, f"the field {key!r} holds {type(value).__name__}, not text", str(record)[:200])
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return Rejected(place, f"not valid Unicode text ({error.reason})", ascii(value)[:200])
    return value
