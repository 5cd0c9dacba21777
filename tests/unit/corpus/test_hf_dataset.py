"""Datasets of Hugging Face: saved ones in their true format, and those of the hub, where a local server stands in."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from pydantic import ValidationError

from stand_in_hub import standing_in
from tsumugi.corpus.readers import READERS
from tsumugi.corpus.readers.hf_dataset import HfDataset
from tsumugi.corpus.sources.hub_layout import declared_splits, named_splits
from tsumugi.errors import TsumugiError

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
COLUMNS = {"text": "body", "title": "head", "category": None}

# --- saved with save_to_disk ---


def save_dataset(folder, rows, cuts):
    """What ``datasets`` writes: Arrow streams and a state that names them."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(cuts) + 1:05d}.arrow" for number in range(len(cuts) + 1)]
    for name, first, last in zip(names, [0, *cuts], [*cuts, len(rows)], strict=True):
        table = pa.Table.from_pylist(rows[first:last])
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    return folder


def saved(folder, **changes):
    columns = {"text": "body", "title": "head", "category": None}
    return {
        "reader": "hf_dataset",
        "folder": str(folder),
        "part": "train",
        "columns": columns,
        "licence": "x",
    } | changes


def read_saved(spec):
    return list(READERS["hf_dataset"].read(READERS["hf_dataset"].fetch(spec, None, "own"), spec))


def test_a_saved_dataset(tmp_path):
    rows = [{"body": f"{number}番の文書。", "head": f"題{number}", "more": number} for number in range(7)]
    save_dataset(tmp_path / "one", rows, [3])
    found = read_saved(saved(tmp_path / "one"))
    assert [(document.text, document.title) for document in found] == [(row["body"], row["head"]) for row in rows]
    save_dataset(tmp_path / "many/train", rows[:4], [])
    save_dataset(tmp_path / "many/validation", rows[4:], [])
    (tmp_path / "many/dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    assert [d.title for d in read_saved(saved(tmp_path / "many", part="validation"))] == ["題4", "題5", "題6"]


def test_what_is_no_saved_dataset_is_named(tmp_path):
    with pytest.raises(TsumugiError, match=r"corpora\.own\.folder: .* holds no dataset that datasets has saved"):
        read_saved(saved(tmp_path))
    folder = save_dataset(tmp_path / "one", [{"body": "本文", "head": "題"}] * 9, [])
    (bad, *_) = read_saved(saved(folder, columns={"text": "txt", "title": None, "category": None}))
    assert "no field 'txt' (found: body, head)" in str(bad)
    (file,) = folder.glob("*.arrow")
    whole = file.read_bytes()
    for cut in (8, 200):  # between two batches, and in the middle of one
        file.write_bytes(whole[:-cut])
        with pytest.raises(TsumugiError, match=r"\.arrow: damaged or cut off after row \d"):
            read_saved(saved(folder))
    (folder / "state.json").write_text('{"_data_files": [{"filename": "../../etc/passwd"}]}')
    with pytest.raises(TsumugiError, match="which is no file beside it"):
        read_saved(saved(folder))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(TsumugiError, match=r"corpora\.own\.part: 'test' is no split of .*; it has train"):
        read_saved(saved(tmp_path, part="test"))


def map_indices(folder, *parts, kind=None, name="indices"):
    """What ``select`` leaves: beside the whole table, the numbers of the rows that were selected."""
    names = [f"{name}-{number}.arrow" for number in range(len(parts))]
    for file_name, numbers in zip(names, parts, strict=True):
        table = pa.table({"indices": pa.array(numbers, kind or pa.uint64())})
        with pa.OSFile(str(folder / file_name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=3)
    change_state(folder, _indices_data_files=[{"filename": file_name} for file_name in names])
    return folder


def change_state(folder, **changes):
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | changes))


ROWS = [{"body": f"{number}番の文書。", "head": f"題{number}", "more": number} for number in range(9)]


def numbers_of(spec):
    return [int(document.title.removeprefix("題")) for document in read_saved(spec)]


def test_of_a_dataset_with_an_indices_mapping_the_selected_rows_are_read(tmp_path):
    folder = save_dataset(tmp_path / "one", ROWS, [3, 5])
    for parts in ([[1]], [[8, 0, 4, 3]], [[5, 6], [2, 2, 0]], [[], [7]], [[]]):
        map_indices(folder, *parts)
        assert numbers_of(saved(folder)) == [number for part in parts for number in part]
    map_indices(folder, [7, 3], kind=pa.int32())
    (first, second) = read_saved(saved(folder))
    assert (first.meta, second.meta) == ({"line": 3}, {"line": 1}), "in its file"
    assert first.source.endswith("data-00002-of-00003.arrow")
    for nothing in ([], None):
        change_state(folder, _indices_data_files=nothing, _format_columns=["more"], _split="test")
        assert numbers_of(saved(folder)) == list(range(9))


def test_each_split_has_its_own_indices_mapping(tmp_path):
    for split, numbers in {"train": [4, 1], "test": [0, 8]}.items():  # as train_test_split leaves them
        map_indices(save_dataset(tmp_path / split, ROWS, [3]), numbers)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert numbers_of(saved(tmp_path)) == [4, 1] and numbers_of(saved(tmp_path, part="test")) == [0, 8]


def test_the_state_and_the_indices_are_raw_files_of_the_corpus(tmp_path):
    folder = map_indices(save_dataset(tmp_path / "one", ROWS, []), [1])
    files = READERS["hf_dataset"].fetch(saved(folder), None, "own")
    assert [file.name for file in files] == ["data-00000-of-00001.arrow", "indices-0.arrow", "state.json"]
    with pytest.raises(TsumugiError, match=r"state\.json was not recorded"):
        list(READERS["hf_dataset"].read(files[:-1], saved(folder)))


@pytest.mark.parametrize(
    ("numbers", "kind", "message"),
    [
        ([0, 9], None, "row 2: names row 9 of 9"),
        ([-1], pa.int64(), "row 1: names row -1 of 9"),
        ([0, None], None, "wants one column of row numbers"),
        ([0.0], pa.float64(), "wants one column of row numbers"),
        (["0"], pa.string(), "wants one column of row numbers"),
    ],
)
def test_an_indices_mapping_that_leads_nowhere_is_refused(tmp_path, numbers, kind, message):
    folder = map_indices(save_dataset(tmp_path / "one", ROWS, [4]), numbers, kind=kind)
    with pytest.raises(TsumugiError, match=rf"indices-0\.arrow: .*{message}"):
        read_saved(saved(folder))


def test_a_damaged_or_missing_indices_file_is_refused(tmp_path):
    folder = map_indices(save_dataset(tmp_path / "one", ROWS, []), list(range(9)))
    whole = (folder / "indices-0.arrow").read_bytes()
    for content in (whole[:-8], whole[: len(whole) // 2], whole + whole, b""):
        (folder / "indices-0.arrow").write_bytes(content)
        with pytest.raises(TsumugiError, match=r"indices-0\.arrow: damaged or cut off"):
            read_saved(saved(folder))
    (folder / "indices-0.arrow").unlink()
    with pytest.raises(TsumugiError, match=r"state\.json: names 'indices-0\.arrow', which is no file beside it"):
        read_saved(saved(folder))


def test_slices_of_files_are_heeded_and_changes_that_files_do_not_have_refused(tmp_path):
    """Both of early versions of datasets."""
    folder = save_dataset(tmp_path / "one", ROWS, [])
    (name,) = (path.name for path in folder.glob("*.arrow"))
    parts = [{"filename": name, "skip": 6, "take": 3}, {"filename": name, "skip": 1, "take": 2}, {"filename": name}]
    change_state(folder, _data_files=parts)
    assert numbers_of(saved(folder)) == [6, 7, 8, 1, 2, *range(9)]
    map_indices(folder, [3, 0, 13])
    assert numbers_of(saved(folder)) == [1, 6, 8]
    change_state(folder, _data_files=[{"filename": name, "skip": 6, "take": 4}])
    with pytest.raises(TsumugiError, match=r"has 9 rows, where state\.json takes those up to 10"):
        read_saved(saved(folder))
    for wrong in (None, [name], {}, [{"filename": name, "skip": -1}], [{"filename": name, "take": "2"}]):
        change_state(folder, _data_files=wrong)
        with pytest.raises(TsumugiError, match=r"state\.json: "):
            read_saved(saved(folder))
    change_state(folder, _data_files=parts, _inplace_history=[{"transforms": []}])
    assert read_saved(saved(folder))
    change_state(folder, _inplace_history=[{"transforms": [["rename_column_", ["a", "body"], {}]]}])
    with pytest.raises(
        TsumugiError, match="changes of the table that its files do not have yet; open it with datasets"
    ):
        read_saved(saved(folder))


def test_several_arrow_streams_in_one_file_are_refused(tmp_path):
    folder = save_dataset(tmp_path / "one", ROWS, [])
    (path,) = folder.glob("*.arrow")
    whole = path.read_bytes()
    for content in (whole + whole, whole + b"x", whole + bytes(512)):
        path.write_bytes(content)
        with pytest.raises(TsumugiError, match=r"\.arrow: damaged or cut off .*more behind the end of its data"):
            read_saved(saved(folder))


def test_a_part_that_was_not_saved_is_refused(tmp_path):
    folder = save_dataset(tmp_path / "one", ROWS, [])
    with pytest.raises(TsumugiError, match=r"corpora\.own\.part: 'test' is no split of .*one dataset without splits"):
        read_saved(saved(folder, part="test"))
    change_state(folder, _split="test")
    assert len(read_saved(saved(folder, part="test"))) == 9
    with pytest.raises(TsumugiError, match=r"'dev' is no split of .*, which is the split 'test'; leave part out"):
        read_saved(saved(folder, part="dev"))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_row_of_a_saved_dataset_that_is_not_utf8_is_a_bad_record(tmp_path, mapped):
    folder = save_dataset(tmp_path / "one", [{"body": "良い", "head": "題"}] * 3, [])
    (path,) = folder.glob("*.arrow")
    body = pa.array([b"a", b"\xff", b"c"]).view(pa.string())
    table = pa.Table.from_arrays([body, pa.array(["題"] * 3), body], names=["body", "head", "more"])
    for kind in (pa.string(), pa.dictionary(pa.int32(), pa.string())):
        coded = table.set_column(0, "body", pa.DictionaryArray.from_arrays(pa.array([0, 1, 2], pa.int32()), body))
        with pa.OSFile(str(path), "wb") as file:
            given = table if kind == pa.string() else coded
            with pa.ipc.new_stream(file, given.schema) as stream:
                stream.write_table(given)
        if mapped:
            map_indices(folder, [0, 1, 2])
        first, bad, last = read_saved(saved(folder))
        assert (first.text, last.text) == ("a", "c")
        assert f"{path}:2: the field 'body' is not UTF-8 at byte 0" in str(bad)


def test_a_wanted_column_of_a_saved_dataset_whose_name_stands_twice_is_refused(tmp_path):
    folder = save_dataset(tmp_path / "one", ROWS, [])
    (path,) = folder.glob("*.arrow")
    for names in (["body", "head", "x", "x"], ["body", "head", "body", "x"]):
        table = pa.Table.from_arrays([pa.array(["a"])] * 4, names=names)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
        if names[2] == "x":
            assert read_saved(saved(folder))[0].text == "a"
    with pytest.raises(TsumugiError, match=r"\.arrow: 2 columns are called 'body'"):
        read_saved(saved(folder))


# --- from the hub ---


def parquet(*numbers):
    """A Parquet file with a document for each number, a row group a document."""
    rows = [{"body": f"{number}番の文書。", "head": f"題{number}", "more": number} for number in numbers]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=1)
    return buffer.getvalue()


CONFIGS = [
    {"config_name": "all", "data_files": [{"split": "train", "path": "x/*.parquet"}]},
    {
        "config_name": "default",
        "data_files": [{"split": "train", "path": ["data/train-*"]}, {"split": "test", "path": "data/test-*"}],
    },
]
FILES = {
    "README.md": b"# birds",
    "data/train-00000-of-00002.parquet": parquet(0, 1, 2),
    "data/train-00001-of-00002.parquet": parquet(3, 4),
    "data/test-00000-of-00001.parquet": parquet(5),
    "x/other.parquet": parquet(6),
}
TRAIN = [name for name in FILES if "train" in name]


@pytest.fixture
def hub(monkeypatch):
    with standing_in() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)  # huggingface_hub looks at HF_ENDPOINT when it is imported
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        hub.push("sea/birds", FILES, card={"license": "cc0-1.0", "configs": CONFIGS})
        yield hub


def named(**changes):
    spec = HfDataset(reader="hf_dataset", name="sea/birds", columns=COLUMNS).model_dump(mode="json")
    return spec | changes


def fetch(folder, **changes):
    """The raw files, and the titles in them."""
    spec, folder = named(**changes), folder / "data/own"
    files = READERS["hf_dataset"].fetch(spec, folder, "own")
    return files, [document.title for document in READERS["hf_dataset"].read(files, spec)]


def test_a_dataset_of_the_hub_is_fetched_once_and_then_read_without_a_network(tmp_path):
    def run():
        command = [sys.executable, SCRIPTS / "fetch_corpus.py", "--spec", "spec.json"]
        command += ["--data", "data/birds", "--output", "raw.json"]
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        return json.loads((tmp_path / "raw.json").read_text())["results"]["files"]

    (tmp_path / "spec.json").write_text(json.dumps(named()))
    with standing_in() as hub:
        commit = hub.push("sea/birds", FILES, card={"license": "cc0-1.0", "configs": CONFIGS})
        files = run()
        assert sum("/content/" in asked for asked in hub.asked) == 2, "no more than the split's"
    assert [file["file"] for file in files] == [f"data/birds/{name}" for name in TRAIN]
    assert {(file["version"], file["licence"]) for file in files} == {(commit, "cc0-1.0")}
    assert run() == files, "with the server gone"


def test_the_documents_of_a_split(hub, tmp_path):
    files, titles = fetch(tmp_path)
    assert titles == ["題0", "題1", "題2", "題3", "題4"]
    asked = len(hub.asked)
    assert fetch(tmp_path) == (files, titles) and len(hub.asked) == asked
    assert fetch(tmp_path, part="test")[1] == ["題5"] and fetch(tmp_path, config="all")[1] == ["題6"]
    assert fetch(tmp_path, licence="own")[0][0].licence == "own"
    with pytest.raises(
        TsumugiError, match=r"train-00000-of-00002\.parquet: no column txt \(it has: body, head, more\)"
    ):
        fetch(tmp_path, columns={"text": "txt", "title": None, "category": None})


def test_what_holds_no_parquet_is_read_as_the_hub_has_converted_it(hub, tmp_path):
    hub.push("sea/csv", {"train.csv": b"body\n", "test.csv": b"body\n"})
    with pytest.raises(TsumugiError, match=r"own\.name: .* holds no Parquet .* has not converted it"):
        fetch(tmp_path, name="sea/csv")
    converted = {
        "default/train/0000.parquet": parquet(7),
        "default/train/0001.parquet": parquet(8),
        "default/partial-test/0000.parquet": parquet(9),
    }
    commit = hub.push("sea/csv", converted, revision="refs/convert/parquet")
    files, titles = fetch(tmp_path, name="sea/csv")
    assert titles == ["題7", "題8"] and {file.version for file in files} == {commit}
    with pytest.raises(TsumugiError, match=r"'test' is no split .*has partial-test, train; of partial-… .* beginning"):
        fetch(tmp_path, name="sea/csv", part="test")
    with pytest.raises(TsumugiError, match=r"own\.revision: main of the dataset sea/csv holds no Parquet"):
        fetch(tmp_path, name="sea/csv", revision="main")


def test_what_was_chosen_stays_though_the_hub_moves_on(hub, tmp_path):
    (first, _), _ = fetch(tmp_path)
    changed = parquet(7, 1, 2)
    assert len(changed) == len(FILES[TRAIN[0]])
    hub.push("sea/birds", {**FILES, TRAIN[0]: changed}, card={"configs": CONFIGS})
    (tmp_path / "data/own" / TRAIN[0]).unlink()
    files, titles = fetch(tmp_path)
    assert titles[0] == "題0" and files[0] == first
    (tmp_path / "data/own/hub.json").unlink()
    files, titles = fetch(tmp_path)
    assert titles[0] == "題7" and files[0].version != first.version
    assert fetch(tmp_path, revision=first.version)[1][0] == "題0"


def test_a_broken_connection_goes_on_and_a_cut_file_comes_again(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100)
    hub.most = [1050]
    files, titles = fetch(tmp_path)
    assert [asked.split()[-1] for asked in hub.asked if " from " in asked] == ["1000"] and len(titles) == 5
    path = Path(files[1].path)
    path.write_bytes(path.read_bytes()[:-10])
    assert fetch(tmp_path) == (files, titles)


def test_what_is_not_what_the_hub_announced_is_not_kept(hub, tmp_path):
    hub.flipped = True
    sha256 = hashlib.sha256(FILES[TRAIN[0]]).hexdigest()
    with pytest.raises(TsumugiError, match=rf"{TRAIN[0]}: .* the hub announced .* with {sha256}; nothing is kept"):
        fetch(tmp_path)
    assert not list(tmp_path.glob("data/own/data/*"))
    hub.flipped = False
    assert len(fetch(tmp_path)[1]) == 5


def test_what_the_hub_does_not_have_is_named(hub, tmp_path):
    hub.push("sea/closed", FILES)
    hub.gated.add("sea/closed")
    hub.push("sea/out", {"../../train.parquet": b"x"})
    wrong = {
        r"own\.name: there is no dataset 'sea/fish' at http://127.*set HF_TOKEN": {"name": "sea/fish"},
        r"own\.name: the dataset 'sea/closed' asks for consent": {"name": "sea/closed"},
        r"'\.\./\.\./train\.parquet' leads out of the repository": {"name": "sea/out"},
        r"own\.revision: the dataset 'sea/birds' has no revision 'v2'": {"revision": "v2"},
        r"own\.config: 'some' is no config of sea/birds; as Parquet it has all, default": {"config": "some"},
        r"own\.part: 'dev' is no split of sea/birds, config default; as Parquet it has train, test": {"part": "dev"},
    }
    for message, changes in wrong.items():
        with pytest.raises(TsumugiError, match=message):
            fetch(tmp_path, **changes)
    hub.shutdown()
    hub.server_close()
    with pytest.raises(
        TsumugiError, match=r"'sea/birds' cannot be fetched from .* Run it again where there is a network"
    ):
        fetch(tmp_path)
    assert not tmp_path.joinpath("data").exists()


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["data/train-00000-of-00001-0123456789abcdef.parquet"], {"default": ["train"]}),
        (["en/test-00000-of-00001.parquet", "ja/test-00000-of-00001.parquet"], {"en": ["test"], "ja": ["test"]}),
        (["validation.parquet", "README.md"], {"default": ["validation"]}),
        (["ja/train/0000.parquet"], {"ja": ["train"]}),
        (["train.parquet", "a/b/what.parquet"], {}),
    ],
)
def test_names_tell_the_splits(paths, splits):
    assert {config: list(found) for config, found in named_splits(paths).items()} == splits


@pytest.mark.parametrize(
    ("data_files", "splits"),
    [
        ("a/*.parquet", {"train": ["a/1.parquet", "a/2.parquet"]}),
        (["**/*.parquet"], {"train": ["a/1.parquet", "a/2.parquet", "a/b/3.parquet"]}),
        ({"test": "a/[2].parquet"}, {"test": ["a/2.parquet"]}),
        ([{"split": "train", "path": "a/*"}], {}),  # with a text among them
        (None, {}),
    ],
)
def test_a_card_tells_the_splits(data_files, splits):
    paths = ["a/2.parquet", "a/1.parquet", "a/b/3.parquet", "a/x.txt"]
    found = declared_splits([{"config_name": "c", "data_files": data_files}], paths)
    assert found == ({"c": splits} if splits else {})


@pytest.mark.parametrize(
    "given", [{}, {"folder": "x", "name": "a/b"}, {"folder": "x", "config": "ja"}, {"name": "../b"}, {"name": "a/b/c"}]
)
def test_a_dataset_is_here_or_on_the_hub(given):
    with pytest.raises(ValidationError, match=r"give folder|for a dataset on the hub|wants the name of a dataset"):
        HfDataset(reader="hf_dataset", **given)
