"""The special tokens of every tokenizer made here, at ids that never change: one tokenizer serves every objective."""

PAD, BOS, EOS, UNK = "<pad>", "<s>", "</s>", "<unk>"
CLS, SEP, MASK = "[CLS]", "[SEP]", "[MASK]"
SENTINELS = tuple(f"<extra_id_{number}>" for number in range(100))  # T5's names, in ascending order of id

SPECIAL_TOKENS = (PAD, BOS, EOS, UNK, CLS, SEP, MASK, *SENTINELS)  # the position is the id
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))  # stand directly behind the special tokens
