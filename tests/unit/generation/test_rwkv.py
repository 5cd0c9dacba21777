"""Penalties, narrowing, stops and streaming: what RWKV's ``PIPELINE`` does, but in batches and piece by piece."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rwkv.utils import PIPELINE, PIPELINE_ARGS

from tiny_models import KINDS, make_model, make_tokenizer
from tsumugi.config.experiment import Decoding
from tsumugi.errors import TsumugiError
from tsumugi.generation.evaluation_pairs import Pair
from tsumugi.generation.generate_text import generate_texts
from tsumugi.generation.penalties import CountPenalty, uncounted_tokens
from tsumugi.generation.stopping import Stop
from tsumugi.generation.stream import stream_text
from tsumugi.generation.token_sampling import processors
from tsumugi.models import build_model
from tsumugi.tokenization.prompts import encode_text
from tsumugi.tokenization.world_tokenizer import WorldTokenizer

WORLD = WorldTokenizer()
REFERENCE = PIPELINE(None, "rwkv_vocab_v20230424")
PROMPTS = ["天気は", "A", "1 2 3 4 5\n\n"]


@pytest.fixture(scope="module")
def model():
    """Of the official vocabulary; its head likes a few hundred tokens, digits and parts of characters among them."""
    torch.manual_seed(0)
    model = build_model({"kind": "rwkv4", "n_layer": 1, "n_embd": 16, "tie_embeddings": False}, WORLD)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and "time_" not in name:
                parameter.normal_(0, 0.5)
        model.head.weight[400:] *= 0.01
        model.head.weight[0] = 0
    return model.eval()


class ReferenceModel:
    """The same model as ``PIPELINE.generate`` wants one; ``fed`` are the tokens that it was fed one by one."""

    def __init__(self, model):
        self.model, self.fed = model, []

    def forward(self, tokens, state):
        with torch.no_grad():
            output = self.model(torch.tensor([tokens]), state=state)
        self.fed.append(tokens[-1])
        return output.logits[0, -1].clone(), output.state


def reference_text(model, prompt, count, **arguments):
    """What the reference writes behind the end mark and the prompt, greedily; the last token is never fed."""
    reference = ReferenceModel(model)
    _, state = reference.forward([0], None)
    REFERENCE.model = reference
    REFERENCE.generate(prompt, count + 1, PIPELINE_ARGS(top_p=0, chunk_len=10**6, **arguments), state=state)
    return WORLD.decode(reference.fed[2:])


def pairs_of(tokenizer, prompts):
    return [Pair(f"id{number}", "", None, encode_text(tokenizer, text), []) for number, text in enumerate(prompts)]


@pytest.mark.parametrize(
    ("presence", "frequency", "decay"),
    [(0.0, 0.0, 1.0), (0.2, 0.2, 0.996), (2.0, 0.0, 1.0), (0.0, 1.5, 0.8), (-1, 3, 0)],
)
def test_greedy_texts_with_penalties_are_those_of_the_reference(model, presence, frequency, decay):
    decoding = Decoding(presence_penalty=presence, frequency_penalty=frequency, penalty_decay=decay)
    found = generate_texts(model, WORLD, pairs_of(WORLD, PROMPTS), decoding, 40, 3)
    for one, prompt in zip(found, PROMPTS, strict=True):
        expected = reference_text(
            model, prompt, 40, alpha_presence=presence, alpha_frequency=frequency, alpha_decay=decay
        )
        assert one.text == expected
        assert one.tokens == 40


def test_banned_and_stop_tokens_are_those_of_the_reference(model):
    penalties = {"presence_penalty": 0.5, "frequency_penalty": 0.5}
    free = generate_texts(model, WORLD, pairs_of(WORLD, PROMPTS), Decoding(**penalties), 30, 3)
    banned = [WORLD.encode(one.text)[0] for one in free]
    decoding = Decoding(banned_tokens=banned, **penalties)
    found = generate_texts(model, WORLD, pairs_of(WORLD, PROMPTS), decoding, 30, 3)
    arguments = {"alpha_presence": 0.5, "alpha_frequency": 0.5, "alpha_decay": 1.0, "token_ban": banned}
    texts = [reference_text(model, prompt, 30, **arguments) for prompt in PROMPTS]
    assert [one.text for one in found] == texts != [one.text for one in free]
    stop = WORLD.encode(texts[0])[5]
    found = generate_texts(model, WORLD, pairs_of(WORLD, PROMPTS), decoding.model_copy(update={"stop": (stop,)}), 30, 3)
    stopped = [reference_text(model, prompt, 30, token_stop=[stop], **arguments) for prompt in PROMPTS]
    assert [one.text for one in found] == stopped
    assert len(stopped[0]) < len(texts[0])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.999), st.integers(0, 40), st.floats(0.3, 3))
def test_what_may_be_drawn_is_as_in_the_reference(seed, top_p, top_k, temperature):
    scores = torch.randn(1, 30, generator=torch.Generator().manual_seed(seed)) * 3
    drawn = {}

    def choice(a, p):
        drawn["p"] = p
        return 0

    before = np.random.choice
    np.random.choice = choice  # its distribution is seen nowhere else
    try:
        PIPELINE.sample_logits(None, scores[0].clone(), temperature, top_p, top_k)
    finally:
        np.random.choice = before
    decoding = Decoding(do_sample=True, top_p=top_p, top_k=top_k, temperature=temperature, temperature_last=True)
    chain = processors(decoding, ["a"], 4, 1, [], [], "cpu")[:-1]
    ours = scores
    for processor in chain:
        ours = processor(torch.zeros(1, 1, dtype=torch.int64), ours)
    assert np.allclose(ours.softmax(dim=-1)[0].numpy(), drawn["p"], atol=1e-5)


def test_the_order_of_temperature_matters():
    """By default it comes first, as in Transformers: a high one then leaves more tokens possible."""
    scores = torch.log(torch.tensor([[0.6, 0.25, 0.1, 0.05]]))

    def possible(**settings):
        chain = processors(Decoding(do_sample=True, top_p=0.8, temperature=3, **settings), ["a"], 4, 1, [], [], "cpu")
        result = scores
        for processor in chain[:-1]:
            result = processor(torch.zeros(1, 1, dtype=torch.int64), result)
        return int(torch.isfinite(result).sum())

    assert (possible(), possible(temperature_last=True)) == (3, 2)


def test_blanks_and_digits_are_uncounted_as_in_the_reference():
    reference = REFERENCE.tokenizer
    expected = [id_ for id_ in sorted(reference.idx2token) if reference.decode([id_]) in " \t0123456789"]
    assert uncounted_tokens(WORLD) == expected
    assert uncounted_tokens(make_tokenizer()) == []


@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=1, max_size=3), st.floats(0, 1))
def test_the_penalty_follows_the_reference_step_by_step(rows, decay):
    decoding = Decoding(presence_penalty=0.3, frequency_penalty=0.7, penalty_decay=decay)
    ids = torch.tensor([[9, 9, *row] for row in rows])  # two places of prompt, with a token that is not penalised
    found = CountPenalty(decoding, 2, [5], "cpu")(ids, torch.zeros(len(rows), 10))
    for row, scores in zip(rows, found, strict=True):
        occurrence, expected = {}, torch.zeros(10)
        for token in row:
            occurrence = {known: times * decay for known, times in occurrence.items()}
            occurrence[token] = occurrence.get(token, 0) + (token != 5)
        for token, times in occurrence.items():
            expected[token] -= 0.3 + times * 0.7
        assert torch.allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_stop_texts_end_each_row_of_a_batch_by_itself(kind):
    model, tokenizer = make_model(kind), make_tokenizer()
    pairs = pairs_of(tokenizer, ["あい", "うえお", "数式を", "か"])
    settings = {"presence_penalty": 3, "banned_tokens": (tokenizer.eos_token_id,)}
    whole = [one.text for one in generate_texts(model, tokenizer, pairs, Decoding(**settings), 20, 4)]
    stops = (whole[0][3:5], whole[2][2:3])  # of two tokens or more, and of one
    decoding = Decoding(**settings, stop=stops)
    for micro_batch in (1, 4):
        found = generate_texts(model, tokenizer, pairs, decoding, 20, micro_batch)
        for one, text in zip(found, whole, strict=True):
            ends = [(text.find(stop), len(stop)) for stop in stops if stop in text]
            assert one.text == (text[: min(ends)[0]] if ends else text)
        assert len(found[0].text) <= 3
        assert len(found[2].text) <= 2
        assert found[0].tokens < 20 and found[2].tokens < 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings", [{}, {"do_sample": True, "top_k": 5, "seed": 4}, {"stop": ("い", "あ\n"), "top_p": 0.9}]
)
def test_pieces_are_the_text(kind, settings):
    model, tokenizer = make_model(kind), make_tokenizer()
    decoding = Decoding(presence_penalty=2, **settings)
    for pair in pairs_of(tokenizer, ["あい", "うえお", "数式を"]):
        (expected,) = generate_texts(model, tokenizer, [pair], decoding, 20, 1)
        pieces = list(stream_text(model, tokenizer, pair.prompt, decoding, 20, pair.id))
        assert "".join(pieces) == expected.text
        assert all(pieces)


def test_pieces_hold_no_half_characters(model):
    """The model likes single bytes: most of what it writes is no text, some of it becomes one."""
    decoding = Decoding(do_sample=True, temperature=2.0, seed=1)
    for pair in pairs_of(WORLD, PROMPTS):
        (expected,) = generate_texts(model, WORLD, [pair], decoding, 60, 1)
        assert "".join(stream_text(model, WORLD, pair.prompt, decoding, 60, pair.id)) == expected.text


@given(
    st.lists(st.sampled_from(["日", "本", "\n", "\n\n", "質問", "質", "問:", "a", "é", "👍"]), max_size=12),
    st.lists(st.sampled_from(["\n\n", "質問:", "本日", "a", "👍a"]), max_size=3),
    st.integers(1, 5),
)
def test_what_is_certain_stays(parts, stops, step):
    """Whatever follows, and wherever the bytes are cut."""
    stop = Stop(tuple(stops), frozenset({0}))
    data = "".join(parts).encode()
    final, shown = stop.cut(data.decode()), ""
    for end in range(0, len(data) + 1, step):
        text = data[:end].decode(errors="replace")
        if stop.cut(text) != text:
            break
        certain = stop.certain(text)
        assert certain.startswith(shown)
        shown = certain
    assert final.startswith(shown)


def test_the_command_line_prints_the_text(tmp_path):
    """With a tokenizer of Transformers' own; the World tokenizer is tried above."""
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    script = [sys.executable, Path(__file__).parents[3] / "scripts" / "write_text.py", "--model", tmp_path]
    command = [*script, "--prompt", "あい", "--max-tokens", "12", "--top-k", "3", "--seed", "5", "--stop", "\n"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    decoding = Decoding(do_sample=True, top_k=3, seed=5, stop=("\n",))
    pair = Pair("", "", None, encode_text(tokenizer, "あい"), [])
    (expected,) = generate_texts(model, tokenizer, [pair], decoding, 12, 1)
    assert done.stdout == f"あい{expected.text}\n"
    done = subprocess.run([*script, "--prompt", "あ", "--top-p", "1.5"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: --top-p: Input should be less than or equal to 1 (found 1.5)" in done.stderr


def test_who_stops_reading_stops_the_model(model):
    before = threading.active_count()
    pieces = stream_text(model, WORLD, WORLD.encode("天気"), Decoding(do_sample=True), 10**6)
    next(pieces)
    pieces.close()
    assert threading.active_count() == before


def test_what_breaks_while_it_writes_is_raised(model):
    with pytest.raises(TsumugiError, match="token id 70000"):
        list(stream_text(model, WORLD, [70_000], Decoding(), 5))


@pytest.mark.parametrize("settings", [{"stop": (65_536,)}, {"banned_tokens": (3, 65_536)}])
def test_a_token_that_is_none_is_refused(model, settings):
    with pytest.raises(TsumugiError, match=r"decoding\.\w+: there is no token 65536; the tokenizer has the ids 0 to"):
        generate_texts(model, WORLD, pairs_of(WORLD, ["a"]), Decoding(**settings), 5, 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"stop": ("",)},
        {"stop": (-1,)},
        {"stop": (True,)},
        {"top_k": -1},
        {"penalty_decay": 1.1},
        {"banned_tokens": ("a",)},
    ],
)
def test_a_decoding_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Decoding(**settings)
