"""The configuration: pydantic models that are the one source of truth for ``config.yaml`` and its JSON schema.

Named sections refer to one another by name. Unknown keys are refused, and every message names the key, what it got and
what it wants. ``python scripts/write_schema.py`` regenerates ``config.schema.json`` from these models.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from tsumugi.config.needs import Needs
from tsumugi.corpus.readers import AnyCorpus
from tsumugi.schema.base import (
    NUMBER,
    WHOLE,
    Flag,
    LocalPath,
    Name,
    PositiveFloat,
    PositiveInt,
    Section,
    Seed,
    Share,
    scalars_in,
)

Weights = Annotated[dict[Name, PositiveFloat], Field(min_length=1)]


# --- tokenizers -------------------------------------------------------------------------------------------------------


class TrainedTokenizer(Section):
    """A SentencePiece tokenizer, trained on the train splits of the named corpora alone."""

    kind: Literal["unigram", "bpe"]
    vocab_size: Annotated[int, Field(ge=400, description="107 special tokens and 256 bytes are part of it"), WHOLE]
    corpora: Weights
    character_coverage: Annotated[float, Field(gt=0.9, le=1), NUMBER] = 0.9995
    max_sentences: PositiveInt = Field(1_000_000, description="lines sampled for training, over all corpora")
    seed: Seed = 0


class WorldTokenizer(Section):
    """RWKV's World tokenizer: a fixed vocabulary of 65,536 ids, the same for every World model; nothing is trained."""

    kind: Literal["world"]
    corpora: tuple[Name, ...] = Field((), description="on whose test documents its fertility is measured")


Tokenizer = Annotated[TrainedTokenizer | WorldTokenizer, Field(discriminator="kind")]
FITS = {"unigram": None, "bpe": None, "world": ("causal_lm", "sft")}  # objectives; None: every one


# --- architectures ----------------------------------------------------------------------------------------------------


class Rwkv4(Section):
    """RWKV-4 (Peng et al., 2023, arXiv:2305.13048)."""

    kind: Literal["rwkv4"]
    n_layer: PositiveInt
    n_embd: PositiveInt
    tie_embeddings: Flag = False


class Rwkv7(Section):
    """RWKV-7 "Goose" (Peng et al., 2025, arXiv:2503.14456)."""

    kind: Literal["rwkv7"]
    n_layer: PositiveInt
    n_embd: PositiveInt
    head_size: PositiveInt = 64
    tie_embeddings: Flag = False

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "Rwkv7":
        if self.n_embd % self.head_size:
            raise ValueError(f"n_embd ({self.n_embd}) must be a multiple of head_size ({self.head_size})")
        return self


class T5(Section):
    """T5 (Raffel et al., 2020, arXiv:1910.10683), version 1.1: gated GELU. Names as in Transformers' ``T5Config``."""

    kind: Literal["t5"]
    d_model: PositiveInt
    d_kv: PositiveInt = 64
    d_ff: PositiveInt
    num_layers: PositiveInt
    num_decoder_layers: PositiveInt
    num_heads: PositiveInt
    tie_embeddings: Flag = True
    dropout_rate: Share = 0.0


class Bert(Section):
    """BERT (Devlin et al., 2019, arXiv:1810.04805). Names as in Transformers' ``BertConfig``."""

    kind: Literal["bert"]
    hidden_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    intermediate_size: PositiveInt
    max_position_embeddings: PositiveInt = 512
    dropout: Share = 0.0

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> "Bert":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})"
            )
        return self


Architecture = Annotated[Rwkv4 | Rwkv7 | T5 | Bert, Field(discriminator="kind")]
LEARNS = {  # objectives
    "rwkv4": ("causal_lm", "sft"),
    "rwkv7": ("causal_lm", "sft"),
    "t5": ("span_corruption", "sft"),
    "bert": ("masked_lm",),
}

# --- recipes ----------------------------------------------------------------------------------------------------------

Beta = Annotated[float, Field(ge=0, lt=1), NUMBER]


class Recipe(Section):
    """How a model is optimised. What only decides where and how fast (micro-batch, threads) is in ``compute``."""

    optimizer: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: Annotated[float, Field(ge=0), NUMBER] = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    warmup: Annotated[int, Field(ge=0, description="steps of linear warm-up"), WHOLE] = 0
    min_learning_rate: Annotated[float, Field(ge=0), NUMBER] = 0.0
    clip: PositiveFloat | None = Field(1.0, description="largest gradient norm")
    learning_rate_factors: dict[str, PositiveFloat] = Field(
        {}, description="part of a parameter's name -> how many times the learning rate it gets; RWKV: time_decay, 2"
    )
    logit_penalty: Annotated[float, Field(ge=0), NUMBER] = Field(
        0.0, description="holds the largest logit of each prediction down (RWKV-LM's L2Wrap: 1e-4)"
    )
    global_batch: PositiveInt = Field(description="examples per optimizer step, over all devices")
    context: PositiveInt = Field(256, description="tokens of a pretraining example; a task has its own limits")
    steps: PositiveInt
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    eval_every: PositiveInt = Field(100, description="steps between measurements of the dev loss")
    eval_examples: PositiveInt = Field(128, description="examples of the dev split that are measured")

    @model_validator(mode="after")
    def _warmup_fits(self) -> "Recipe":
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be less than steps ({self.steps})")
        return self


# --- tasks ------------------------------------------------------------------------------------------------------------


TokenId = Annotated[int, Field(ge=0), WHOLE]


class Decoding(Section):
    """How outputs are written. Names are those of Transformers' ``generate``, then what RWKV's ``PIPELINE_ARGS`` adds.

    A token's score falls by ``presence_penalty``, once it was written, and by ``frequency_penalty`` for each time; the
    number of times fades by ``penalty_decay`` with each further token, and blanks and digits count as none.
    """

    do_sample: Flag = False
    temperature: PositiveFloat = 1.0
    top_p: Annotated[float, Field(gt=0, le=1), NUMBER] = 1.0
    top_k: Annotated[int, Field(ge=0, description="0: every token"), WHOLE] = 0
    repetition_penalty: PositiveFloat = 1.0
    presence_penalty: Annotated[float, NUMBER] = 0.0
    frequency_penalty: Annotated[float, NUMBER] = 0.0
    penalty_decay: Share = 1.0
    temperature_last: Flag = Field(False, description="apply it behind top_p and top_k, as RWKV does")
    banned_tokens: tuple[TokenId, ...] = Field((), description="ids that are never written")
    # strict: of what is no number in the file, none is made; "12" is the text
    stop: tuple[Annotated[int, Field(ge=0, strict=True)] | Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="texts, as the model writes them, or token ids that end an output, itself without them"
    )
    seed: Seed = 0


class Task(Section):
    """What the data is for: which field is read, which is written, and the words around them."""

    corpus: Name
    input: Literal["title", "text", "category"]
    output: Literal["title", "text", "category"]
    prompts: Annotated[dict[Name, str], Field(min_length=1, description="templates; {input} stands for the input")]
    max_input_tokens: PositiveInt = Field(64, description="to so many the input is cut before it fills the template")
    max_output_tokens: PositiveInt = 512
    scored_characters: PositiveInt = Field(256, description="every model is scored on this prefix of each output")
    bootstrap_samples: PositiveInt = Field(2000, description="resamples of the test documents behind each interval")
    ngram_tokens: PositiveInt = Field(20_000_000, description="training tokens that the n-gram floor counts at most")
    seed: Seed = Field(0, description="of the resamples, and of which other title a document is scored under")
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _templates_use_input(self) -> "Task":
        for name, template in self.prompts.items():
            if template.count("{input}") != 1:
                raise ValueError(f"prompts.{name} must contain {{input}} exactly once, got {template!r}")
        if self.input == self.output:
            raise ValueError(f"input and output are both {self.input!r}")
        return self


# --- runs -------------------------------------------------------------------------------------------------------------


class CausalLM(Section):
    """Predict each token from those before it."""

    kind: Literal["causal_lm"]


class SpanCorruption(Section):
    """Predict dropped spans behind sentinels (Raffel et al., 2020, section 3.1.4, whose values are the defaults)."""

    kind: Literal["span_corruption"]
    noise_density: Annotated[float, Field(gt=0, lt=1), NUMBER] = 0.15
    mean_span_length: Annotated[float, Field(ge=1), NUMBER] = 3.0


class MaskedLM(Section):
    """Predict hidden tokens from both sides (Devlin et al., 2019, section 3.1, whose value is the default)."""

    kind: Literal["masked_lm"]
    mask_share: Annotated[float, Field(gt=0, lt=1, description="share of the tokens that is predicted"), NUMBER] = 0.15


class SupervisedFinetuning(Section):
    """Predict a task's output from its prompt; the loss is on the output alone."""

    kind: Literal["sft"]


def _objective_by_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Objective = Annotated[
    Annotated[CausalLM | SpanCorruption | MaskedLM | SupervisedFinetuning, Field(discriminator="kind")],
    BeforeValidator(
        _objective_by_name, json_schema_input_type=str | CausalLM | SpanCorruption | MaskedLM | SupervisedFinetuning
    ),
]


class Lora(Section):
    """LoRA (Hu et al., 2021, arXiv:2106.09685) through PEFT."""

    r: PositiveInt
    alpha: PositiveInt
    dropout: Share = 0.0
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    train_also: tuple[str, ...] = Field(
        (), description="parts of parameters' names that are trained in full: norms, RWKV's time_decay, …"
    )


class PeftMethod(Section):
    """Any other method of PEFT. The keys beside ``type`` are those of PEFT's own config class, which checks them."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="name of the method as in PEFT's PeftType: IA3, VERA, LOHA, …")

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any) -> Any:
        """No type of ours says which of PEFT's keys want a number, or true or false."""
        return scalars_in(value) if isinstance(value, Mapping) else value

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside ``type``."""
        return self.model_extra or {}


class Adapter(Section):
    """Train a small addition instead of all weights; ``merge`` also writes the model with the addition folded in."""

    lora: Lora | None = None
    peft: PeftMethod | None = None
    merge: Flag = False

    @model_validator(mode="after")
    def _one_method(self) -> "Adapter":
        if (self.lora is None) == (self.peft is None):
            raise ValueError("needs exactly one of lora and peft")
        return self


def _no_twice(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"stands twice: {', '.join(map(str, twice))}; remove one of the two")
    return values


class Run(Section):
    """One trained model: what it starts from, what it sees, what it predicts, how it is optimised."""

    architecture: Name | None = None
    tokenizer: Name | None = None
    init_from: LocalPath | None = Field(
        None, description='a run, a local directory ("./dir", "/dir", "~/dir") or a hub name ("hub:org/name")'
    )
    objective: Objective
    corpora: Weights | None = None
    task: Name | None = None
    prompt: Name | None = None
    train_on_dev: Flag = Field(
        False, description="train on the dev documents too, as the thesis's RWKV does; its dev loss then says nothing"
    )
    adapter: Adapter | None = None
    recipe: Name
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_no_twice)] = (42,)

    @model_validator(mode="after")
    def _complete(self) -> "Run":
        if self.init_from is None and (self.architecture is None or self.tokenizer is None):
            raise ValueError("needs either init_from, or both architecture and tokenizer")
        if self.init_from is not None and (self.architecture is not None or self.tokenizer is not None):
            raise ValueError("init_from brings its own architecture and tokenizer: remove these two keys")
        if self.adapter is not None and self.init_from is None:
            raise ValueError("an adapter needs a trained model to stand on: set init_from, or remove adapter")
        if self.objective.kind == "sft":
            if self.task is None or self.prompt is None:
                raise ValueError("objective sft needs task and prompt")
            if self.corpora is not None:
                raise ValueError("objective sft reads its task's corpus: remove corpora")
        elif self.corpora is None:
            raise ValueError(f"objective {self.objective.kind} needs corpora")
        elif self.task is not None or self.prompt is not None:
            raise ValueError("task and prompt belong to objective sft")
        return self


# --- reports and compute ----------------------------------------------------------------------------------------------


class Report(Section):
    """A comparison of runs on one task."""

    runs: Annotated[tuple[Name, ...], Field(min_length=1), AfterValidator(_no_twice)]
    task: Name
    samples: PositiveInt = Field(8, description="outputs shown side by side")


class Compute(Section):
    """Where and how fast, never what: nothing here makes a finished result out of date."""

    threads: PositiveInt = Field(
        2, description="CPU threads of each process of a timed job; fixed, so that times can be compared"
    )
    processes: Annotated[PositiveInt | Literal["auto"], NUMBER] = Field(
        "auto", description="training processes of a machine; auto: one for each of its GPUs, one where there is none"
    )
    micro_batch: PositiveInt | None = Field(
        None, description="examples computed at once; null: what the inventory or a calibration says, else 16"
    )
    micro_batches: dict[Name, PositiveInt] = Field(default={}, description="the same for single runs")
    zero_stage: Annotated[Literal["auto", 0, 1, 2, 3], NUMBER] = Field(
        "auto", description="what DeepSpeed shares out over the processes (0: nothing); auto: what the memory needs"
    )
    gradient_checkpointing: Flag = Field(False, description="compute activations a second time: less memory")
    offload: Literal["none", "cpu"] = Field("none", description="keep the optimizer in the memory of the CPU")
    inventory: LocalPath | None = Field(None, description="YAML file that says what kinds of machines there are")
    needs: dict[Name, Needs] = Field(default={}, description="run -> what its jobs need of a cluster's machines")
    stage_to_scratch: Flag = Field(
        False, description="copy token files to the machine's own disk (scratch in the inventory) before training"
    )
    calibration: LocalPath = Field("calibration", description="folder of what was measured of each kind of device")
    checkpoint_seconds: PositiveInt = Field(60, description="seconds of training between checkpoints")

    @model_validator(mode="after")
    def _offload_has_a_stage(self) -> "Compute":
        if self.offload == "cpu" and self.zero_stage == 0:
            raise ValueError("offload cpu needs zero_stage 1, 2, 3 or auto: stage 0 leaves the optimizer to PyTorch")
        return self


def _own_name(name: str) -> str:
    if name.startswith("from-"):
        raise ValueError("names that begin with 'from-' are those of tokenizers that come with a model from outside")
    return name


class Config(Section):
    """The whole of an experiment."""

    corpora: Annotated[dict[Name, AnyCorpus], Field(min_length=1)]
    tokenizers: dict[Annotated[Name, AfterValidator(_own_name)], Tokenizer] = Field(default={})
    architectures: dict[Name, Architecture] = Field(default={})
    recipes: dict[Name, Recipe] = Field(default={})
    tasks: dict[Name, Task] = Field(default={})
    runs: dict[Name, Run] = Field(default={})
    reports: dict[Name, Report] = Field(default={})
    compute: Compute = Compute()

    def first_run(self, run: str) -> str:
        """The run at the start of the chain of ``init_from``."""
        source = self.runs[run].init_from
        return self.first_run(source) if source is not None and source in self.runs else run

    def tokenizer_of(self, run: str) -> str:
        """Name of the tokenizer of a run; one that came with a model from outside is named after its first run."""
        first = self.first_run(run)
        return self.runs[first].tokenizer or f"from-{first}"
