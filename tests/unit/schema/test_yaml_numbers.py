"""No number that a person did not write: none is made of 012, 12:30 or true, in configurations and inventories."""

import json
import random
import typing

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tsumugi.cluster.inventory import Inventory, Kind, load_inventory
from tsumugi.config.experiment import Config
from tsumugi.config.loading import from_command_line, load_config
from tsumugi.config.needs import Needs
from tsumugi.errors import TsumugiError
from tsumugi.schema.base import Section
from tsumugi.schema.plain_scalars import decimal_number, plain_scalar
from tsumugi.schema.spec_file import read_spec
from tsumugi.schema.yaml_file import YamlFile, read_yaml
from tsumugi.slurm.inventory_draft import _word

OTHERS_NUMBERS = (
    "012", "-012", "00", "0o12", "0x1F", "0b11", "1_000", "1_0.5", "12:30", "1:30:00", "-1:30", "1:30.5", "１２",
    "007.5", ".inf", "-.inf", ".nan", "inf", "nan", "true", "True", "yes", "on", "off", "no", "2020-01-01",
    '"012"', '" 12"', "!!str 1_0",
)  # fmt: skip
BASE = """\
corpora:
  notes: {reader: local_files, files: [a.jsonl], format: jsonl}
tokenizers:
  ja: {kind: unigram, vocab_size: 500, corpora: {notes: 1.0}}
architectures:
  small: {kind: rwkv4, n_layer: 1, n_embd: 8}
recipes:
  r: {learning_rate: 1e-3, global_batch: 8, steps: 100}
tasks:
  write: {corpus: notes, input: title, output: text, prompts: {p: "{input}"}}
runs:
  base: {architecture: small, tokenizer: ja, objective: causal_lm, corpora: {notes: 1.0}, recipe: r}
  tuned: {init_from: base, objective: sft, task: write, prompt: p, recipe: r}
"""


def read(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    file = YamlFile(path)
    return load_config(file.content, str(path), [file])


def test_the_configuration_of_these_tests_is_one(tmp_path):
    config = read(tmp_path, BASE)
    assert config.recipes["r"].learning_rate == 0.001


@pytest.mark.parametrize("written", OTHERS_NUMBERS)
@pytest.mark.parametrize(
    ("old", "new", "key", "line"),
    [
        ("steps: 100", "steps: {}", "recipes.r.steps", 8),
        ("learning_rate: 1e-3", "learning_rate: {}", "recipes.r.learning_rate", 8),
        ("recipe: r}\n  tuned", "recipe: r, seeds: [{}]}\n  tuned", "runs.base.seeds.0", 12),
        ("notes: 1.0}, recipe", "notes: {}}, recipe", "runs.base.corpora.notes", 12),
        ("tasks:", "compute: {needs: {base: {hours: {}}}}\ntasks:", "compute.needs.base.hours", 9),
        ("tasks:", "compute: {zero_stage: {}}\ntasks:", "compute.zero_stage", 9),
        ("tasks:", "compute: {processes: {}}\ntasks:", "compute.processes", 9),
        ("format: jsonl", "format: jsonl, split: {ratios: [90, 5, {}]}", "corpora.notes.split.ratios.2", 2),
        ("prompt: p,", "prompt: p, adapter: {lora: {r: 8, alpha: {}}},", "runs.tuned.adapter.lora.alpha", 13),
    ],
)
def test_no_number_that_a_person_did_not_write(tmp_path, written, old, new, key, line):
    assert old in BASE
    with pytest.raises(TsumugiError) as error:
        read(tmp_path, BASE.replace(old, new.replace("{}", written, 1), 1))
    lines = [told for told in str(error.value).splitlines() if told.startswith(f"  {key}: ")]
    assert lines, str(error.value)
    shown = written.removeprefix("!!str ").strip('"')
    assert shown in lines[0]
    assert lines[0].endswith(f", line {line}")


@pytest.mark.parametrize(
    ("written", "number"),
    [("100", 100), ("+100", 100), ("1e2", 100), ("1.0e2", 100), ("100.0", 100), ("100.", 100), ('"100"', 100)],
)
def test_whole_numbers_that_a_person_did_write(tmp_path, written, number):
    steps = read(tmp_path, BASE.replace("steps: 100", f"steps: {written}")).recipes["r"].steps
    assert steps == number
    assert type(steps) is int


@pytest.mark.parametrize(
    ("written", "number"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("1.0e-3", 1e-3), (".5", 0.5), ("0.5", 0.5), ("5", 5.0), ("+1.5e+2", 150.0)],
)
def test_fractions_that_a_person_did_write(tmp_path, written, number):
    assert read(tmp_path, BASE.replace("1e-3", written)).recipes["r"].learning_rate == number


@pytest.mark.parametrize("written", ["1e23", "9007199254740993.0", "1.5", "1e-3"])
def test_a_whole_number_that_a_float_would_change_is_refused(tmp_path, written):
    with pytest.raises(TsumugiError, match=r"recipes\.r\.steps: wants a whole number"):
        read(tmp_path, BASE.replace("steps: 100", f"steps: {written}"))


@pytest.mark.parametrize("written", ["1", "0", "1.0", "2", '"1"', "12:30", "012", "~"])
def test_a_number_is_not_true(tmp_path, written):
    with pytest.raises(TsumugiError, match=r"architectures\.small\.tie_embeddings: .*, line 6"):
        read(tmp_path, BASE.replace("n_embd: 8", f"n_embd: 8, tie_embeddings: {written}"))


@pytest.mark.parametrize(
    ("written", "value"), [("true", True), ("Yes", True), ("on", True), ("no", False), ("OFF", False)]
)
def test_true_and_false_in_the_words_of_yaml(tmp_path, written, value):
    config = read(tmp_path, BASE.replace("n_embd: 8", f"n_embd: 8, tie_embeddings: {written}"))
    assert config.architectures["small"].tie_embeddings is value


@pytest.mark.parametrize(
    "written", ["no", "on", "2020-01-01", "012", "12:30", "1_000", "0x1F", "1e3", "12e4567", "=", '"1.10"']
)
def test_a_text_is_what_stands_there(tmp_path, written):
    config = read(tmp_path, BASE.replace("jsonl}", f"jsonl, licence: {written}}}"))
    assert config.corpora["notes"].licence == written.strip('"')


@pytest.mark.parametrize("written", ["1.10", "2020", "true", "null", "~", "NULL", ""])
def test_what_is_no_text_is_refused_as_it_was_written(tmp_path, written):
    with pytest.raises(TsumugiError) as error:
        read(tmp_path, BASE.replace("jsonl}", f"jsonl, licence: {written}}}"))
    wanted = "corpora.notes.licence: wants a text; what is meant as one is written in quotes"
    assert f"{wanted} (found {written or 'nothing'}), line 2" in str(error.value)


@pytest.mark.parametrize("name", ["010", "on", "no", "null", "true", "2020", "1e3", "1_0"])
def test_names_that_look_like_numbers_stay_as_they_are(tmp_path, name):
    config = read(tmp_path, BASE.replace("  tuned:", f"  {name}:"))
    assert list(config.runs) == ["base", name]


@pytest.mark.parametrize("name", ["1.10", "12:30", "2020-01-01x:", "~"])
def test_names_that_no_folder_could_have_are_refused_as_they_are(tmp_path, name):
    with pytest.raises(TsumugiError, match=r"runs\..* wants a name of letters") as error:
        read(tmp_path, BASE.replace("  tuned:", f'  "{name}":'))
    assert f"runs.{name}" in str(error.value)


def test_a_stop_is_an_id_or_a_text_as_it_was_written(tmp_path):
    stop = '[12, "12", 012, "。", 1_0]'
    config = read(tmp_path, BASE.replace('p: "{input}"}', f'p: "{{input}}"}}, decoding: {{stop: {stop}}}'))
    assert config.tasks["write"].decoding.stop == (12, "12", "012", "。", "1_0")
    with pytest.raises(TsumugiError, match=r"decoding\.stop\.0"):
        read(tmp_path, BASE.replace('p: "{input}"}', 'p: "{input}"}, decoding: {stop: [1.5]}'))


def test_the_options_of_a_method_of_peft_are_numbers_too(tmp_path):
    def adapter(options):
        text = BASE.replace("prompt: p,", f"prompt: p, adapter: {{peft: {{type: VERA, {options}}}}},")
        return read(tmp_path, text).runs["tuned"].adapter.peft.model_dump()

    assert adapter("r: 8, d_initial: 1e-1, save_projection: no, target_modules: [key]") == {
        "type": "VERA", "r": 8, "d_initial": 0.1, "save_projection": False, "target_modules": ["key"]
    }  # fmt: skip
    for written in ("r: 012", "r: 1:30", "rank_pattern: {key: 0x10}", "layers_to_transform: [1, 02]"):
        with pytest.raises(TsumugiError, match=r"runs\.tuned\.adapter\.peft: wants a number in decimal digits"):
            adapter(written)


@pytest.mark.parametrize("tagged", ["!!int 012", "!!int 1:30", "!!float 1_0.5", "!!bool yes", "!!timestamp 2020-01-01"])
def test_a_tag_makes_no_number_of_it_either(tmp_path, tagged):
    with pytest.raises(TsumugiError, match=r"(?s)not YAML: .*line 8"):
        read(tmp_path, BASE.replace("steps: 100", f"steps: {tagged}"))


@pytest.mark.parametrize(
    ("tagged", "number"), [("!!float 1", 1.0), ("!!float 1e-3", 1e-3), ('!!float "0.5"', 0.5), ("!!float 1.5", 1.5)]
)
def test_a_tag_in_front_of_a_number_changes_nothing(tmp_path, tagged, number):
    assert read(tmp_path, BASE.replace("1e-3", tagged)).recipes["r"].learning_rate == number


def _sections(annotation, found):
    """Every model that a type leads to."""
    if isinstance(annotation, type) and issubclass(annotation, Section) and annotation not in found:
        found.add(annotation)
        for inside in typing.get_type_hints(annotation, include_extras=True).values():
            _sections(inside, found)
    for argument in typing.get_args(annotation):
        _sections(argument, found)
    return found


@pytest.mark.parametrize("written", ["012", "12:30", "0x1F", "1_000", " 12", "１２", "inf"])
def test_every_number_of_every_section_refuses_what_is_not_in_decimal_digits(written):
    checked = 0
    for section in _sections(Config, set()) | _sections(Inventory, set()):
        schema = section.model_json_schema()["properties"]
        for key, value in schema.items():
            kinds = {option.get("type") for option in [value, *value.get("anyOf", ())]}
            if kinds & {"integer", "number"}:
                with pytest.raises(ValueError, match=f"(?s){key}.*(in decimal digits|without ':')"):
                    section.model_validate({key: written})
                checked += 1
    assert checked > 60


def test_every_flag_refuses_numbers():
    checked = 0
    for section in _sections(Config, set()) | _sections(Inventory, set()):
        for key, value in section.model_json_schema()["properties"].items():
            if value.get("type") == "boolean":
                for written in (1, 0, "1", 1.0, "t", "y", "F", "n", "maybe", "", [True]):
                    with pytest.raises(ValueError, match=f"(?s){key}.*wants true or false"):
                        section.model_validate({key: written})
                checked += 1
    assert checked >= 9


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("max_hours: 12:30", "kinds.k.max_hours: wants a number of hours, without ':'; an hour and a half is 1.5"),
        ("nodes: 012", "kinds.k.nodes: wants a number in decimal digits"),
        ("memory_gib: 0x1F", "kinds.k.memory_gib: wants a number in decimal digits"),
        ("cpus: 1_000", "kinds.k.cpus: wants a number in decimal digits"),
        ("micro_batch: {t5: 010}", "kinds.k.micro_batch.t5: wants a number in decimal digits"),
        ("micro_batch: 1:30", "kinds.k.micro_batch: wants a number in decimal digits"),
        ("partition: 4090", "kinds.k.partition: wants a text; what is meant as one is written in quotes (found 4090)"),
        ("network_gbit: on", "kinds.k.network_gbit: "),
        ("nodes: yes", "kinds.k.nodes: "),
    ],
)
def test_inventories_hold_no_other_numbers_either(tmp_path, line, message):
    path = tmp_path / "nodes.yaml"
    path.write_text(f"kinds:\n  k:\n    gpus: 0\n    {line}\n", encoding="utf-8")
    with pytest.raises(TsumugiError) as error:
        load_inventory(path)
    assert f"{path}: 1 mistake(s) in the inventory:\n  {message}" in str(error.value)
    assert str(error.value).endswith(", line 4")


def test_an_inventory_keeps_names_of_slurm_as_they_are(tmp_path):
    path = tmp_path / "nodes.yaml"
    path.write_text("kinds:\n  4090: {gpus: 0, partition: 010, hosts: [no, 1e3]}\n", encoding="utf-8")
    kind = load_inventory(path).kinds["4090"]
    assert (kind.partition, kind.hosts) == ("010", ("no", "1e3"))


def test_hours_of_a_run_say_what_to_write():
    with pytest.raises(ValueError, match=r"an hour and a half is 1\.5"):
        Needs.model_validate({"hours": "1:30"})
    assert Needs.model_validate({"hours": "1.5"}).hours == 1.5
    with pytest.raises(ValueError, match="wants a number"):
        Kind.model_validate({"gpus": 0, "max_hours": True})


def test_the_command_line_is_read_like_the_file():
    given = "recipes={r: {steps: 10, eps: 1e-8, clip: null, warmup: 010, betas: [0.9, 1:30]}, t: no}"
    read = {"r": {"steps": 10, "eps": "1e-8", "clip": None, "warmup": "010", "betas": [0.9, "1:30"]}, "t": "no"}
    assert from_command_line([given]) == [{"recipes": read}]
    # as Snakemake hands a profile's mapping on
    assert from_command_line(["compute={'threads': 2, 'offload': 'none'}", "tasks="]) == [
        {"compute": {"threads": 2, "offload": "none"}},
        {"tasks": None},
    ]


def test_what_is_quoted_on_a_command_line_is_a_text():
    """Snakemake forgets the quotation marks; the text "12" is not the token with this id."""
    given = """tasks={write: {decoding: {stop: ["12", 12, 'null', "010"]}}}"""
    assert from_command_line([given]) == [{"tasks": {"write": {"decoding": {"stop": ["12", 12, "null", "010"]}}}}]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("recipes={r: {steps: 1, steps: 2}}", r"--config recipes, line 1: the key 'steps' already stands on line 1"),
        ('recipes={"r": {"steps": 1, "steps": 2}}', r"--config recipes: the key 'steps' appears 2 times"),
        ("recipes={r: {steps: 1}", r"--config recipes: not YAML"),
    ],
)
def test_a_command_line_is_refused_as_a_file_is(given, message):
    with pytest.raises(TsumugiError, match=message):
        from_command_line([given])


def test_a_mistake_is_told_where_it_was_said_last(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text(BASE)
    second.write_text("\n\nrecipes:\n  r: {steps: 1:30}\n")
    files = [YamlFile(first), YamlFile(second)]
    raw = yaml.safe_load(BASE)
    raw["recipes"]["r"] |= {"steps": "1:30", "warmup": "012"}
    with pytest.raises(TsumugiError) as error:
        load_config(raw, "both", files, {"recipes": {"r": {"warmup": "012"}}})
    assert f"(found '1:30'), line 4 of {second}" in str(error.value)
    assert "recipes.r.warmup: " in str(error.value)
    assert "(found '012'), in --config" in str(error.value)


def test_a_mistake_in_a_list_is_told_where_the_list_was_said_last(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("recipes:\n  r:\n    betas:\n      - 0.9\n      - 1:30\n")
    raw = yaml.safe_load(BASE)
    raw["recipes"]["r"] |= {"betas": [0.9, "1:30"]}
    for overrides, place in ((None, "line 5"), ({"recipes": {"r": {"betas": [0.9, "1:30"]}}}, "in --config")):
        with pytest.raises(TsumugiError, match=rf"recipes\.r\.betas\.1: .* \(found '1:30'\), {place}$"):
            load_config(raw, "mine.yaml", [YamlFile(path)], overrides)


def test_json_is_read_as_json(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(yaml.safe_load(BASE) | {"reports": {}}, indent="\t"), encoding="utf-8")
    config = load_config(YamlFile(path).content)
    assert config.recipes["r"].learning_rate == 1e-3
    path.write_text('{"recipes": {"😀\\ud83d\\ude00": 1, "a": 1, "a": 2}}', encoding="utf-8")
    with pytest.raises(TsumugiError, match="the key 'a' appears 2 times in one object; remove all but one"):
        YamlFile(path)


@pytest.mark.parametrize(
    "text", ['{"steps": NaN}', '{"steps": -Infinity}', '{"steps": 1, "steps": 2}', '{"steps": 012}']
)
def test_a_spec_holds_no_number_that_nobody_wrote(tmp_path, text):
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(TsumugiError, match=r"spec\.json: "):
        read_spec(path)


@given(st.text(alphabet="0123456789+-._:eExXoObBaAnNtTrRuU~ ", max_size=9))
def test_what_is_read_as_a_number_is_one_by_every_rule(text):
    value = plain_scalar(text)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        assert value == float(text) == decimal_number(text)
        other = yaml.safe_load(text)
        assert float(other) == value, "PyYAML reads the same number, or a text that shows it"
    if isinstance(value, str):
        assert value == text


@pytest.mark.parametrize(
    "name", ["010", "1e3", "1.5e3", "no", "4090", "12:30", "a100", "2020-01-01", "null", "1_0", ".5e1"]
)
def test_a_drafted_name_is_a_text_to_everybody(tmp_path, name):
    path = tmp_path / "nodes.yaml"
    path.write_text(f"{_word(name)}: {_word(name)}\n")
    assert YamlFile(path).content == yaml.safe_load(path.read_text()) == {name: name}


@pytest.mark.parametrize("tagged", ["!!map [1]", "!!map x", "!!map", "!!seq {a: 1}", "!!str [1]", "!!int [1]"])
def test_a_tag_of_another_kind_of_value_is_refused_with_its_line(tmp_path, tagged):
    with pytest.raises(TsumugiError, match=r"(?s)--config: not YAML: .*line 2"):
        read_yaml(f"a: 1\nb: {tagged}\n", "--config")


def test_aliases_and_merge_keys_still_work(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {x: 1, y: 010}\nb:\n  <<: *a\n  x: 2\nc: *a\nd: {<<: [*a, {z: 3}]}\n")
    file = YamlFile(path)
    assert file.content == {
        "a": {"x": 1, "y": "010"}, "b": {"x": 2, "y": "010"}, "c": {"x": 1, "y": "010"},
        "d": {"x": 1, "y": "010", "z": 3},
    }  # fmt: skip
    assert [file.find(keys).line for keys in (["b", "x"], ["b", "y"], ["c", "y"], ["a"])] == [4, 1, 1, 1]
    assert file.find(["b", "q"]).depth == 1
    assert file.find(["q"]) is None


def test_random_numbers_come_back(tmp_path):
    chance = random.Random(1)
    path = tmp_path / "mine.yaml"
    values = [chance.randrange(-(10**12), 10**12) for _ in range(50)] + [chance.uniform(-1e6, 1e6) for _ in range(50)]
    path.write_text(yaml.safe_dump(values))
    assert YamlFile(path).content == values
