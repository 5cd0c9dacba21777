"""Tiny random models in the file layouts of models on the hub: names of files and keys as on their main branches."""

import io
import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForPreTraining,
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    RwkvConfig,
    RwkvForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from tokenization_corpus import sentences

LINES = [line for text in sentences(400) for line in text.split("\n") if line]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@cache
def sentencepiece_model(**settings: object) -> bytes:
    """Trained on a few hundred lines."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, minloglevel=2, num_threads=1, **settings
    )
    return model.getvalue()


def t5_spiece() -> bytes:
    """T5's layout: padding 0, end 1, unknown 2, NFKC."""
    return sentencepiece_model(vocab_size=260, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=0.99)


def rinna_spiece() -> bytes:
    """The layout of rinna's GPT-2: unknown 0, beginning 1, end 2, and the others as symbols."""
    symbols = "[PAD],[CLS],[SEP],[MASK]"
    return sentencepiece_model(vocab_size=260, user_defined_symbols=symbols, character_coverage=0.99)


def plain_spiece() -> bytes:
    """SentencePiece's own layout, which XLM-R and mBART read with fairseq's ids: unknown 0, beginning 1, end 2."""
    return sentencepiece_model(vocab_size=260, character_coverage=0.99)


def albert_spiece() -> bytes:
    """ALBERT's: padding 0, unknown 1, and its special tokens as control symbols."""
    symbols = "[CLS],[SEP],[MASK]"
    return sentencepiece_model(
        vocab_size=260, pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=symbols, character_coverage=0.99
    )


def llama_spiece() -> bytes:
    """LLaMA's: BPE with bytes, nothing normalized."""
    return sentencepiece_model(
        vocab_size=600,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )


def write_weights(folder: Path, model: PreTrainedModel, form: str = "bin") -> None:
    """``bin``, ``old`` (PyTorch before 1.6), ``shards`` (with an index) or ``safetensors``."""
    state = model.state_dict()
    if form == "safetensors":
        model.save_pretrained(folder)
    elif form == "shards":
        names = sorted(state)
        parts = [names[::2], names[1::2]]
        files = [f"pytorch_model-{i}-of-00002.bin" for i in ("00001", "00002")]
        for file, part in zip(files, parts, strict=True):
            torch.save({name: state[name].clone() for name in part}, folder / file)
        weight_map = {name: file for file, part in zip(files, parts, strict=True) for name in part}
        index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=form == "bin")


def _write(folder: Path, config: dict, tokenizer_config: dict | None, **files: bytes | str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"config.json": json.dumps(config), **files}
    if tokenizer_config is not None:
        contents["tokenizer_config.json"] = json.dumps(tokenizer_config)
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name).write_bytes(data)


def sonoisa_t5(folder: Path, form: str = "bin") -> None:
    """sonoisa/t5-base-japanese: spiece.model alone, a config of 2021, rows beyond the tokenizer's ids."""
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2}
    special = {"decoder_start_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    config = {"d_model": 16, "model_type": "t5", "vocab_size": 388, "is_encoder_decoder": True, "n_positions": 512}
    config |= {"feed_forward_proj": "relu", "initializer_factor": 1.0, "layer_norm_epsilon": 1e-06}
    config |= {"use_cache": True, "relative_attention_num_buckets": 32, "dropout_rate": 0.1, **sizes, **special}
    config |= {"task_specific_params": {"summarization": {"early_stopping": True, "num_beams": 4, "prefix": "s: "}}}
    extra = [f"<extra_id_{i}>" for i in range(100)]
    named = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "additional_special_tokens": extra}
    _write(
        folder,
        config,
        {**named, "extra_ids": 100, "special_tokens_map_file": None, "sp_model_kwargs": {}, "name_or_path": "x"},
        **{"spiece.model": t5_spiece(), "special_tokens_map.json": json.dumps(named)},
    )
    write_weights(folder, T5ForConditionalGeneration(T5Config(vocab_size=388, **sizes, **special)), form)


def rinna_gpt2(folder: Path, form: str = "bin") -> None:
    """rinna/japanese-gpt2-medium: T5's tokenizer class over its own spiece.model, lower case."""
    torch.manual_seed(0)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 260, "n_positions": 64}
    config |= {"n_ctx": 64, "n_embd": 16, "n_head": 2, "n_layer": 1, "bos_token_id": 1, "eos_token_id": 2}
    config |= {"activation_function": "gelu_new", "tokenizer_class": "T5Tokenizer"}
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "[PAD]"}
    named |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    _write(
        folder,
        config,
        {**named, "extra_ids": 0, "additional_special_tokens": [], "do_lower_case": True, "sp_model_kwargs": {}}
        | {"tokenizer_class": "T5Tokenizer", "special_tokens_map_file": ""},
        **{"spiece.model": rinna_spiece(), "special_tokens_map.json": json.dumps(named)},
    )
    model = GPT2LMHeadModel(GPT2Config(vocab_size=260, n_positions=64, n_embd=16, n_head=2, n_layer=1))
    write_weights(folder, model, form)


def llama(folder: Path, form: str = "shards") -> None:
    """meta-llama/Llama-2: tokenizer.model, a beginning token in front, no padding token; in parts."""
    torch.manual_seed(0)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 600, "hidden_size": 16}
    config |= {"intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    config |= {"bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-05}
    token = {"__type": "AddedToken", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    _write(
        folder,
        config,
        {"add_bos_token": True, "add_eos_token": False, "legacy": False, "model_max_length": 10**30, "pad_token": None}
        | {role: token | {"content": content} for role, content in (("bos_token", "<s>"), ("eos_token", "</s>"))}
        | {"unk_token": token | {"content": "<unk>"}, "tokenizer_class": "LlamaTokenizer", "sp_model_kwargs": {}},
        **{"tokenizer.model": llama_spiece()},
        **{"generation_config.json": json.dumps({"bos_token_id": 1, "eos_token_id": 2, "temperature": 0.9})},
    )
    write_weights(folder, LlamaForCausalLM(LlamaConfig(**{k: v for k, v in config.items() if k != "model_type"})), form)


def wordpiece_vocabulary(extra: tuple[str, ...] = ()) -> str:
    """BERT's vocab.txt: the special tokens, then single characters as beginnings and as parts."""
    characters = sorted({character for line in LINES for character in line if not character.isspace()})
    tokens = [*BERT_SPECIAL, *extra, *characters, *(f"##{character}" for character in characters)]
    return "".join(f"{token}\n" for token in dict.fromkeys(tokens))


def _bert(folder: Path, form: str, tokenizer_config: dict | None, vocabulary: str, **more: object) -> None:
    torch.manual_seed(0)
    size = vocabulary.count("\n")
    config = {"model_type": "bert", "architectures": ["BertForPreTraining"], "vocab_size": size, "hidden_size": 16}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "pad_token_id": 0}
    config |= {"max_position_embeddings": 64, "type_vocab_size": 2, "layer_norm_eps": 1e-12, **more}
    _write(folder, config, tokenizer_config, **{"vocab.txt": vocabulary})
    ours = {key: value for key, value in config.items() if key not in ("model_type", "tokenizer_class")}
    write_weights(folder, BertForPreTraining(BertConfig(**ours)), form)


def tohoku_bert(folder: Path, form: str = "bin", dictionary: str = "unidic_lite", subword: str = "wordpiece") -> None:
    """tohoku-nlp/bert-base-japanese-v3 (MeCab with unidic-lite), or with ipadic, or by characters."""
    settings = {"do_lower_case": False, "word_tokenizer_type": "mecab", "subword_tokenizer_type": subword}
    settings |= {"tokenizer_class": "BertJapaneseTokenizer", "model_max_length": 512}
    _bert(folder, form, settings | {"mecab_kwargs": {"mecab_dic": dictionary}}, wordpiece_vocabulary())


def old_tohoku_bert(folder: Path, form: str = "bin") -> None:
    """tohoku-nlp/bert-base-japanese, izumi-lab/bert-base-japanese-fin-additional: the class stands in config.json."""
    settings = {"do_lower_case": False, "word_tokenizer_type": "mecab", "subword_tokenizer_type": "wordpiece"}
    settings |= {"mecab_kwargs": {"mecab_dic": "ipadic"}, "model_max_length": 512}
    _bert(folder, form, settings, wordpiece_vocabulary(), tokenizer_class="BertJapaneseTokenizer")


def google_bert(folder: Path, form: str = "bin") -> None:
    """google-bert/bert-base-multilingual-cased: vocab.txt, and no tokenizer class anywhere."""
    _bert(folder, form, {"do_lower_case": False}, wordpiece_vocabulary())


def izumi_deberta(folder: Path, form: str = "bin") -> None:
    """izumi-lab/deberta-v2-base-japanese's kind: SentencePiece with [CLS] and the others as control symbols."""
    torch.manual_seed(0)
    spiece = sentencepiece_model(
        vocab_size=260,
        pad_id=0,
        pad_piece="[PAD]",
        unk_id=1,
        unk_piece="[UNK]",
        bos_id=2,
        bos_piece="[CLS]",
        eos_id=3,
        eos_piece="[SEP]",
        control_symbols="[MASK]",
        character_coverage=0.99,
    )
    config = {"model_type": "deberta-v2", "architectures": ["DebertaV2ForMaskedLM"], "vocab_size": 260}
    config |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_position_embeddings": 64}
    config |= {"position_biased_input": False, "pad_token_id": 0, "type_vocab_size": 0, "norm_rel_ebd": "layer_norm"}
    config |= {"share_att_key": True, "position_buckets": 32, "max_relative_positions": -1}
    named = {"bos_token": "[CLS]", "cls_token": "[CLS]", "eos_token": "[SEP]", "sep_token": "[SEP]"}
    named |= {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    settings = {"do_lower_case": False, "split_by_punct": False, "tokenizer_class": "DebertaV2Tokenizer"}
    _write(folder, config, named | settings, **{"spm.model": spiece, "special_tokens_map.json": json.dumps(named)})
    ours = {key: value for key, value in config.items() if key != "model_type"}
    write_weights(folder, DebertaV2ForMaskedLM(DebertaV2Config(**ours)), form)


def xlm_roberta(folder: Path, form: str = "bin") -> None:
    """FacebookAI/xlm-roberta-base: sentencepiece.bpe.model, whose ids are moved by one, and a mask behind the last."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"vocab_size": 262, "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1}
    config = {"model_type": "xlm-roberta", "bos_token_id": 0, "eos_token_id": 2, **sizes}
    _write(folder, config, {"model_max_length": 64}, **{"sentencepiece.bpe.model": plain_spiece()})
    write_weights(folder, XLMRobertaForMaskedLM(XLMRobertaConfig(**sizes, bos_token_id=0, eos_token_id=2)), form)


def albert(folder: Path, form: str = "bin") -> None:
    """The layout of Japanese ALBERTs (and of nlp-waseda's RoBERTa): spiece.model, accents kept."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes |= {"embedding_size": 16, "vocab_size": 260, "max_position_embeddings": 64, "type_vocab_size": 2}
    settings = {"do_lower_case": False, "keep_accents": True, "tokenizer_class": "AlbertTokenizer"}
    _write(folder, {"model_type": "albert", **sizes}, settings, **{"spiece.model": albert_spiece()})
    write_weights(folder, AlbertForMaskedLM(AlbertConfig(**sizes, bos_token_id=2, eos_token_id=3)), form)


def byte_level_tokenizer(specials: list[str]) -> Tokenizer:
    """GPT-2's kind: byte-level BPE."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([*LINES, "\n\n", "\n\n\n\n"], trainer)
    return backend


def eleuther_neox(folder: Path, form: str = "shards", kind: str = "gpt_neox") -> None:
    """EleutherAI/gpt-neox-20b, cyberagent/open-calm: tokenizer.json; one token is beginning, end and unknown."""
    torch.manual_seed(0)
    backend = byte_level_tokenizer(["<|endoftext|>", "<|padding|>"])
    backend.normalizer = normalizers.NFC()
    backend.post_processor = processors.ByteLevel(trim_offsets=True)
    config = {"model_type": kind, "vocab_size": 608, "bos_token_id": 0, "eos_token_id": 0, "hidden_size": 16}
    if kind == "gpt_neox":
        config |= {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config |= {"max_position_embeddings": 64, "rotary_pct": 0.25, "architectures": ["GPTNeoXForCausalLM"]}
        class_name, build = "GPTNeoXTokenizer", lambda settings: GPTNeoXForCausalLM(GPTNeoXConfig(**settings))
    else:
        config |= {"num_hidden_layers": 2, "attention_hidden_size": 16, "intermediate_size": 32, "rescale_every": 6}
        config |= {"context_length": 1024, "architectures": ["RwkvForCausalLM"]}
        class_name, build = "GPTNeoXTokenizer", lambda settings: RwkvForCausalLM(RwkvConfig(**settings))
    named = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>")
    settings = {**named, "add_prefix_space": False, "tokenizer_class": class_name, "name_or_path": "EleutherAI/x"}
    files = {"tokenizer.json": backend.to_str(), "special_tokens_map.json": json.dumps(named)}
    _write(folder, config, settings, **files)
    model = build({key: value for key, value in config.items() if key != "model_type"})
    write_weights(folder, model, form)


def rwkv_pile(folder: Path, form: str = "bin") -> None:
    """RWKV/rwkv-4-169m-pile: Transformers' own rwkv with GPT-NeoX's tokenizer."""
    eleuther_neox(folder, form, "rwkv")


def gpt2(folder: Path, form: str = "bin") -> None:
    """openai-community/gpt2: vocab.json and merges.txt; no padding token."""
    torch.manual_seed(0)
    backend = json.loads(byte_level_tokenizer(["<|endoftext|>"]).to_str())
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in backend["model"]["merges"]]
    config = {"model_type": "gpt2", "vocab_size": 600, "n_positions": 64, "n_embd": 16, "n_head": 2, "n_layer": 1}
    config |= {"bos_token_id": 0, "eos_token_id": 0, "architectures": ["GPT2LMHeadModel"]}
    vocabulary = json.dumps(backend["model"]["vocab"])
    files = {"vocab.json": vocabulary, "merges.txt": "\n".join(["#version: 0.2", *merges, ""])}
    _write(folder, config, {"model_max_length": 64}, **files)
    ours = {key: value for key, value in config.items() if key != "model_type"}
    write_weights(folder, GPT2LMHeadModel(GPT2Config(**ours)), form)


LAYOUTS: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        sonoisa_t5,
        rinna_gpt2,
        llama,
        tohoku_bert,
        old_tohoku_bert,
        google_bert,
        izumi_deberta,
        xlm_roberta,
        albert,
        eleuther_neox,
        rwkv_pile,
        gpt2,
    )
}


def hostile_texts(special: list[str], count: int = 40) -> list[str]:
    """Texts with special tokens in them: alone, in their full-width forms, beside words and blanks."""
    wide = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
    chance = random.Random(0)
    parts = [*special, *(token.translate(wide) for token in special), *LINES[:5], " ", "\n", "<0x41>", "𠮷", "天"]
    return [*special, *("".join(chance.choices(parts, k=chance.randrange(1, 9))) for _ in range(count))]


def bpe_of(model: bytes, more: Sequence[str] = ()) -> Tokenizer:
    """tokenizer.json as it is converted from LLaMA's model, with further pieces."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = {processor.id_to_piece(id_): id_ for id_ in range(len(processor))}
    vocabulary |= {piece: len(processor) + place for place, piece in enumerate(more)}
    merges = [(piece[:1], piece[1:]) for piece in more]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return backend


def edit_json(path: Path, **changes: object) -> None:
    """Change keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
