"""Invariants 2 and 3 on several ranks: unequal shares give equal gradients, and stopping is free on any layout.

Real ranks, started by torchrun, over gloo; the judge is one process with plain torch.
"""

import pytest
import torch
from safetensors import safe_open

import rank_worker

# Examples of each rank's micro-steps: three ranks, six examples. Without lock-step, ranks make as many micro-steps as
# they need; in lock-step those with fewer make dummies.
ALONE = {"at once": [[3], [2], [1]], "accumulated": [[2, 1], [1], [1, 1]], "without work": [[3, 1], [0], [2]]}
IN_STEP = {"accumulated": [[2, 1], [1, 0], [1, 1]], "without work": [[3, 1], [0, 0], [1, 1]]}
OBJECTIVES = ("causal", "masked", "spans", "sequence to sequence", "prompt-masked", "adapter")
LORA = {"lora": {"r": 4, "alpha": 8, "dropout": 0.0, "target_modules": "all-linear"}, "peft": None, "merge": False}


def objective_specs(specs):
    """A spec without dropout for each objective, and one with an adapter: name -> (spec, adapter)."""
    t5 = specs["t5"]["architecture"] | {"dropout_rate": 0.0}
    rwkv = specs["rwkv"]["architecture"]
    return {
        "causal": (specs["rwkv"], None),
        "masked": (specs["bert"], None),
        "spans": (specs["t5"] | {"architecture": t5}, None),
        "sequence to sequence": (specs["tuned"] | {"architecture": t5}, None),
        "prompt-masked": (specs["tuned"] | {"architecture": rwkv}, None),
        "adapter": (specs["tuned"] | {"architecture": rwkv}, LORA),
    }


def gradient_cases(specs):
    """Every objective, in every layout, in float64 under DDP and in fp32 at every ZeRO stage."""
    cases = []
    for objective, (spec, adapter) in objective_specs(specs).items():
        common = {"do": "gradient_error", "spec": spec, "adapter": adapter}
        for stage, dtype in ((0, "float64"), (0, "float32"), (1, "float32"), (2, "float32"), (3, "float32")):
            layouts = IN_STEP if stage else ALONE
            for layout, micro_batches in layouts.items():
                name = f"{objective}, ZeRO {stage}, {dtype}, {layout}"
                cases.append(common | {"name": name, "micro_batches": micro_batches, "stage": stage, "dtype": dtype})
            name = f"{objective}, ZeRO {stage}, {dtype}, a rank of padding"
            micro_batches = layouts["accumulated"]
            cases.append(cases[-1] | {"name": name, "micro_batches": micro_batches, "muted_rank": 1})
    return cases


@pytest.fixture(scope="module")
def gradients(token_folder, training_specs, tmp_path_factory):
    """Every case, on three ranks that were started once: name -> (case, relative error)."""
    cases = gradient_cases(training_specs)
    errors = rank_worker.launch(3, cases, token_folder, tmp_path_factory.mktemp("gradients"))
    return {case["name"]: (case, error) for case, error in zip(cases, errors, strict=True)}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_unequal_ranks_give_the_gradient_of_one_process_on_the_whole_batch(gradients, objective):
    found = {name: pair for name, pair in gradients.items() if name.startswith(f"{objective}, ")}
    assert len(found) == 17
    bounds = {"float64": 1e-12, "float32": 2e-6}
    far = {name: error for name, (case, error) in found.items() if not error <= bounds[case["dtype"]]}
    assert not far


# --- a loss of two terms ---


@pytest.fixture(scope="module")
def two_terms(token_folder, training_specs, tmp_path_factory):
    """Two terms with counts of their own on every rank, on three ranks: name -> (case, answer)."""
    spec = objective_specs(training_specs)["causal"][0]
    cases = []
    for stage, dtype in ((0, "float64"), (0, "float32"), (1, "float32"), (2, "float32"), (3, "float32")):
        for layout, micro_batches in (IN_STEP if stage else ALONE).items():
            name = f"two terms, ZeRO {stage}, {dtype}, {layout}"
            case = {"do": "two_term_error", "spec": spec, "stage": stage, "dtype": dtype, "name": name}
            cases.append(case | {"micro_batches": micro_batches})
        micro_batches = (IN_STEP if stage else ALONE)["accumulated"]
        name = f"two terms, ZeRO {stage}, {dtype}, a rank of padding"
        cases.append(case | {"name": name, "micro_batches": micro_batches, "muted_rank": 1})
    answers = rank_worker.launch(3, cases, token_folder, tmp_path_factory.mktemp("terms"))
    return {case["name"]: (case, answer) for case, answer in zip(cases, answers, strict=True)}


def test_two_terms_on_unequal_ranks_give_the_gradient_of_both_means(two_terms):
    bounds = {"float64": 1e-12, "float32": 2e-6}
    assert len(two_terms) == 17
    far = {
        name: answer["error"]
        for name, (case, answer) in two_terms.items()
        if not answer["error"] <= bounds[case["dtype"]]
    }
    assert not far
    for _, answer in two_terms.values():
        ratios = {second / first for first, second in answer["counts"] if first}
        assert len(ratios) > 1, "dividing by one count for both terms would not be noticed"
        assert answer["sums"] == [sum(counts) for counts in zip(*answer["counts"], strict=True)]


def test_metrics_name_the_terms_of_a_loss_that_has_several(two_terms):
    for _, answer in two_terms.values():
        entry = answer["entry"]
        whole = entry["train_loss_tokens"] + rank_worker.HEAD_WEIGHT * entry["train_loss_parity"]
        assert entry["train_loss"] == pytest.approx(whole)
        assert 0 < entry["train_loss_parity"] < 2


# --- three layouts ---

STEPS, CUTS = 50, (17, 34)


def pieces(chain, spec, adapter, state):
    """One case for each piece of a chain: (ranks, case)."""
    ends = [{"until": cut} for cut in CUTS] + [{}]
    spec = spec | {"recipe": spec["recipe"] | {"steps": STEPS, "eval_every": 25, "warmup": 5}}
    common = {"do": "train_piece", "spec": spec, "adapter": adapter, "state": str(state)}
    return [
        (len(micro_batches), common | end | {"stage": stage, "micro_batches": micro_batches})
        for end, (stage, micro_batches) in zip(ends, chain, strict=True)
    ]


TWO, THREE, THREE_IN_STEP = [[1, 1], [3, 1]], [[2], [3], [1]], [[1, 1], [2, 0], [1, 1]]
CHAINS = {  # (ZeRO stage, micro-batches of each rank) of every piece
    "one process, DDP on three, ZeRO 3 on two": [(0, [[6]]), (0, THREE), (3, TWO)],
    "ZeRO 3 on two, ZeRO 1 on three, one process": [(3, TWO), (1, THREE_IN_STEP), (0, [[4, 2]])],
    "ZeRO 1 alone, ZeRO 2 on three, DDP on two": [(1, [[6]]), (2, THREE_IN_STEP), (0, [[1, 2], [3]])],
    "with an adapter: DDP on two, ZeRO 3 on three, ZeRO 2 alone": [(0, TWO), (3, THREE_IN_STEP), (2, [[6]])],
}


@pytest.fixture(scope="module")
def chains(token_folder, training_specs, tmp_path_factory):
    """Every chain trained in its three pieces, and its spec in one process without a cut: name -> (state, state)."""
    scratch = tmp_path_factory.mktemp("chains")
    specs = objective_specs(training_specs)
    waiting, states = [], {}
    for name, chain in CHAINS.items():
        spec, adapter = specs["adapter" if "adapter" in name else "causal"]
        states[name] = (scratch / name / "cut", scratch / name / "whole")
        uncut = pieces([(0, [[6]])] * 3, spec, adapter, states[name][1])[2]
        waiting.append([uncut])
        waiting.append(pieces(chain, spec, adapter, states[name][0]))
    while any(waiting):  # as few starts as there can be: all that can go on with this many ranks go on
        ranks = min(row[0][0] for row in waiting if row)
        ready = [row for row in waiting if row and row[0][0] == ranks]
        arrived = rank_worker.launch(ranks, [row[0][1] for row in ready], token_folder, scratch)
        for row, step in zip(ready, arrived, strict=True):
            assert step == row.pop(0)[1].get("until", STEPS)
    return states


def weights(state):
    """The weights of the last checkpoint: name -> tensor."""
    (last,) = state.glob("step*")
    assert last.name == f"step{STEPS:09d}"
    with safe_open(last / "tensors-00000.safetensors", framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys() if name.startswith("weight/")}  # noqa: SIM118


@pytest.mark.parametrize("name", CHAINS)
def test_a_run_cut_into_three_layouts_ends_with_the_weights_of_the_uncut_run(chains, name):
    cut, whole = map(weights, chains[name])
    assert cut.keys() == whole.keys()
    distance = torch.cat([(cut[key] - whole[key]).flatten() for key in cut]).norm()
    assert distance <= 1e-5 * torch.cat([whole[key].flatten() for key in cut]).norm()


# --- precision of each rank, and weights that part ---


@pytest.fixture(scope="module")
def mixed(token_folder, training_specs, tmp_path_factory):
    """A few cases on two ranks that were started once: name -> answer."""
    scratch = tmp_path_factory.mktemp("mixed")
    spec = objective_specs(training_specs)["causal"][0]

    def case(do, **options):
        state = str(scratch / f"state{len(cases)}")
        return {"do": do, "spec": spec, "micro_batches": [[4], [2]], "state": state, **options}

    cases = {}
    cases["fp32 and bf16"] = case("gradient_error", name="bf16", precisions=["fp32", "bf16"])
    cases["fp32 and fp16"] = case("gradient_error", name="fp16", precisions=["fp32", "fp16"])
    cases["overflow, DDP"] = case("overflow", options={"precisions": ["fp32", "fp16"]})
    cases["overflow, ZeRO 2"] = case("overflow", options={"precisions": ["fp16", "fp16"], "stage": 2})
    cases["overflow, ZeRO 3"] = case("overflow", options={"precisions": ["fp16", "fp16"], "stage": 3})
    cases["level"] = case("level")
    answers = rank_worker.launch(2, list(cases.values()), token_folder, scratch)
    return dict(zip(cases, answers, strict=True))


def test_each_rank_computes_in_its_own_precision(mixed):
    """A gradient that was not unscaled before the sum would be off by the loss scale, 65,536."""
    assert 1e-6 < mixed["fp32 and bf16"] < 2e-2
    assert 1e-6 < mixed["fp32 and fp16"] < 2e-3


@pytest.mark.parametrize("engine", ["DDP", "ZeRO 2", "ZeRO 3"])
def test_a_step_that_overflows_on_one_rank_is_skipped_by_all(mixed, engine):
    answers = mixed[f"overflow, {engine}"]
    for skipped, scale, _, changed in answers:
        assert skipped
        assert scale == 2.0**39, "all ranks halve the scale that they share"
        assert changed, "the next step counts"
    assert answers[0][2] == answers[1][2], "the weights stay equal"


def test_weights_that_have_come_apart_are_levelled_when_they_are_saved(mixed):
    assert mixed["level"][0] == mixed["level"][1]
