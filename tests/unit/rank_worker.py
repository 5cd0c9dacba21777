"""What the ranks of the distributed tests run: ``torchrun … rank_worker.py CASES FOLDER OUTPUT``.

CASES is a JSON list; each case names a function below and its arguments. One start of ``torchrun`` serves many cases,
for the start is what costs. Rank 0 writes the answers, in the order of the cases.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoTokenizer

from tsumugi.models import build_model
from tsumugi.models.adapters import add_adapter
from tsumugi.models.padding import IGNORE_INDEX
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.training.distributed.launch import leave_after
from tsumugi.training.distributed.world import joined
from tsumugi.training.loop import Trainer
from tsumugi.training.objectives import build_objective
from tsumugi.training.optimization.losses import LossTerm, token_losses
from tsumugi.training.optimization.optimizer import trainable_parameters
from tsumugi.training.planning.placement import Placement
from tsumugi.training.planning.planner import Communication, Member, Plan, StepCost

SEED = 3


def plan_of(micro_batches, lockstep):
    """A plan with exactly these micro-steps."""
    largest = max(max(sizes) for sizes in micro_batches)
    members = tuple(Member("cpu", largest, StepCost.guessed(largest)) for _ in micro_batches)
    shared = tuple(map(tuple, micro_batches))
    return Plan(sum(map(sum, shared)), members, shared, lockstep, Communication(0.0, False), 0.0)


def open_objective(folder, spec, model):
    """The objective of a spec of the fixtures, over the data in ``folder``."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "results/tokenizers/words")
    if spec["objective"]["kind"] == "sft":
        data = [folder / "results/pairs/count/plain/words/manifest.json"]
    else:
        data = sorted((folder / "results/tokens/numbers/words").glob("*.json"))
    return build_objective(spec, data, tokenizer, model.config, SEED)


def open_model(folder, spec, adapter=None):
    """Fresh weights, the same on every rank."""
    torch.manual_seed(SEED)
    model = build_model(spec["architecture"], AutoTokenizer.from_pretrained(folder / "results/tokenizers/words"))
    model.config.use_cache = False
    if adapter is not None:
        model = add_adapter(model, adapter, "base")
        with torch.no_grad():  # LoRA begins at zero, where half of its gradients are zero
            for _, parameter in trainable_parameters(model):
                parameter.normal_(0, 0.1)
    return model


def make_trainer(world, model, objective, recipe, micro_batches, state, **options):
    """A trainer as the job builds it, but with a given plan."""
    stage = options.get("stage", 0)
    precisions = options.get("precisions") or ["fp32"] * world.size
    state.mkdir(parents=True, exist_ok=True)
    return Trainer.resume(
        world,
        model,
        objective,
        recipe,
        seed=SEED,
        placement=Placement(precisions, stage, options.get("offload", False)),
        plan=plan_of(micro_batches, stage > 0),
        state=state,
        checkpoint_seconds=options.get("checkpoint_seconds", 1e9),
        memory=MemoryMeter(),
    )


def whole_batch_gradient(model, objective, sampler, recipe):
    """What one process on the whole batch gets, by torch alone.

    The loss is the mean over the predicted tokens of the cross-entropy and of the penalty on the largest logit.
    """
    batch = objective.collate([objective.example(draw) for draw in sampler.batch(0, recipe["global_batch"])])
    logits = model(**batch.model_inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE_INDEX)
    largest = logits[batch.labels != IGNORE_INDEX].amax(dim=-1)
    loss = loss + recipe["logit_penalty"] / 2 * largest.square().mean()
    gradients = torch.autograd.grad(loss, [parameter for _, parameter in trainable_parameters(model)])
    return torch.cat([gradient.flatten() for gradient in gradients])


def read_gradient(trainer, stage):
    """The gradient that the engine would update with, whole."""
    if stage == 0:
        gradients = [parameter.grad for _, parameter in trainable_parameters(trainer.engine.module)]
    else:
        from deepspeed.utils import safe_get_full_grad

        gradients = [safe_get_full_grad(parameter) for _, parameter in trainable_parameters(trainer.engine.module)]
    return torch.cat([gradient.flatten() for gradient in gradients])


def mute(objective, silent):
    """Take the labels away from the examples for which ``silent(index)`` holds, as a document of padding would."""
    original = objective.example

    def example(draw):
        found = original(draw)
        return replace(found, labels=[IGNORE_INDEX] * len(found.labels)) if silent(draw.index) else found

    objective.example = example


HEAD_WEIGHT = 0.3


def add_a_term(objective):
    """A second loss, over the input tokens with an even id that are not the first: is the token before it even too?

    What it predicts is few or none in some micro-batches, and has nothing to do with how many labels there are.
    """

    def asked(batch):
        ids = batch.model_inputs["input_ids"]
        return ids[:, 1:] % 2 == 0, (ids[:, :-1] % 2 == 0)

    def count_predictions(batch):
        return int((batch.labels != IGNORE_INDEX).sum()), int((asked(batch)[0] & labelled(batch)).sum())

    def labelled(batch):  # a dummy, and a muted example, have nothing to be asked
        return (batch.labels != IGNORE_INDEX).any(dim=1, keepdim=True)

    def loss_sums(forward, batch):
        logits = forward(**batch.model_inputs).logits
        where, answers = asked(batch)
        where = where & labelled(batch)
        said = (logits[:, 1:, 7] - logits[:, 1:, 8])[where]
        binary = torch.nn.functional.binary_cross_entropy_with_logits
        return [
            token_losses(logits, batch.labels, objective.logit_penalty),
            binary(said, answers[where].to(said.dtype), reduction="sum"),
        ]

    objective.terms = (LossTerm("tokens"), LossTerm("parity", HEAD_WEIGHT))
    objective.count_predictions, objective.loss_sums = count_predictions, loss_sums


def two_term_gradient(model, objective, sampler, recipe):
    """The gradient of both means over the whole batch, by torch alone, example by example; and the two means."""
    tokens, parities = [], []
    for draw in sampler.batch(0, recipe["global_batch"]):
        example = objective.example(draw)
        ids, labels = torch.tensor(example.inputs), torch.tensor(example.labels)
        if (labels == IGNORE_INDEX).all():
            continue
        logits = model(input_ids=ids[None]).logits[0]
        for place in torch.nonzero(labels != IGNORE_INDEX).flatten().tolist():
            loss = -logits[place].log_softmax(0)[labels[place]]
            tokens.append(loss + recipe["logit_penalty"] / 2 * logits[place].max() ** 2)
        for place in range(1, len(ids)):
            if ids[place] % 2 == 0:
                chance = torch.sigmoid(logits[place, 7] - logits[place, 8])
                parities.append(-torch.log(chance if ids[place - 1] % 2 == 0 else 1 - chance))
    loss = sum(tokens) / len(tokens) + HEAD_WEIGHT * sum(parities) / len(parities)
    gradients = torch.autograd.grad(loss, [parameter for _, parameter in trainable_parameters(model)])
    return torch.cat([gradient.flatten() for gradient in gradients])


def two_term_error(world, folder, case):
    """Relative distance of the ranks' gradient from the reference in float64; the counts of every rank; the metrics."""
    spec, dtype = case["spec"], getattr(torch, case["dtype"])
    recipe = spec["recipe"] | {"global_batch": sum(map(sum, case["micro_batches"])), "clip": None}
    model = open_model(folder, spec).to(dtype)
    objective = open_objective(folder, spec, model)
    add_a_term(objective)
    state = folder / f"states/{case['name']}"
    trainer = make_trainer(world, model, objective, recipe, case["micro_batches"], state, stage=case["stage"])
    if "muted_rank" in case:
        muted = trainer.sampler.slice(0, recipe["global_batch"], trainer.balancer.plan.slice(case["muted_rank"]))
        mute(objective, {draw.index for draw in muted}.__contains__)
    wanted = two_term_gradient(open_model(folder, spec).double(), objective, trainer.sampler, recipe)
    plan = trainer.balancer.plan
    own = trainer.loader.take(0, plan.slice(world.rank), plan.micro_batches[world.rank]).predictions
    found = {}

    def update(step):
        found["gradient"] = read_gradient(trainer, case["stage"])
        return 0.0

    trainer._update = update
    result = trainer._step(0)
    trainer._count(result, 1.0)
    entry = trainer._entry(trainer.progress.since_logged)
    trainer.loader.close()
    error = ((found["gradient"].double() - wanted).norm() / wanted.norm()).item()
    return {"error": error, "counts": world.gather(own), "sums": result.sums.counts, "entry": entry}


def gradient_error(world, folder, case):
    """Relative distance of the ranks' common gradient from that of one process on the whole batch."""
    spec = case["spec"]
    dtype = getattr(torch, case.get("dtype", "float32"))
    model = open_model(folder, spec, case.get("adapter")).to(dtype)
    objective = open_objective(folder, spec, model)
    recipe = spec["recipe"] | {"global_batch": sum(map(sum, case["micro_batches"])), "clip": None}
    state = folder / f"states/{case['name']}"
    trainer_model = open_model(folder, spec, case.get("adapter")).to(dtype)
    options = {key: case[key] for key in ("stage", "precisions", "offload") if key in case}
    trainer = make_trainer(world, trainer_model, objective, recipe, case["micro_batches"], state, **options)
    if "muted_rank" in case:  # every example of that rank in the first step
        muted = trainer.sampler.slice(0, recipe["global_batch"], trainer.balancer.plan.slice(case["muted_rank"]))
        mute(objective, {draw.index for draw in muted}.__contains__)
    wanted = whole_batch_gradient(model, objective, trainer.sampler, recipe)
    found = {}

    def update(step):
        found["gradient"] = read_gradient(trainer, case.get("stage", 0))
        return 0.0

    trainer._update = update
    trainer._step(0)
    trainer.loader.close()
    return ((found["gradient"] - wanted).norm() / wanted.norm()).item()


class StopAt:
    """A stop request that comes when a number of steps is done."""

    signal_name = "SIGTERM"

    def __init__(self, trainer, step):
        self.trainer, self.step = trainer, step

    def __bool__(self):
        return self.trainer.progress.step >= self.step - 1


def train_piece(world, folder, case):
    """Go on from the state to step ``until`` (or to the end); returns the step it arrived at."""
    spec = case["spec"]
    model = open_model(folder, spec, case.get("adapter"))
    objective = open_objective(folder, spec, model)
    options = {key: case[key] for key in ("stage", "precisions", "offload") if key in case}
    trainer = make_trainer(
        world, model, objective, spec["recipe"], case["micro_batches"], Path(case["state"]), **options
    )
    try:
        trainer.run(StopAt(trainer, case.get("until", 10**9)))
    except (Exception, SystemExit) as error:
        if "until" not in case or not ("stopped by" in str(error) or isinstance(error, SystemExit)):
            raise
    return trainer.progress.step


def overflow(world, folder, case):
    """A step whose gradient overflows on an fp16 rank alone; returns what each rank made of it, twice."""
    spec = case["spec"]
    model = open_model(folder, spec)
    objective = open_objective(folder, spec, model)
    trainer = make_trainer(
        world, model, objective, spec["recipe"], case["micro_batches"], Path(case["state"]), **case["options"]
    )
    scale = trainer.engine.loss_scale
    scale.scale = 2.0**40  # far beyond fp16
    before = torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
    trainer._step(0)
    skipped = torch.equal(before, torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    after_overflow = scale.scale
    scale.scale = 2.0**10
    trainer._step(0)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    trainer.loader.close()
    return world.gather([skipped, after_overflow, weights.double().sum().item(), not torch.equal(before, weights)])


def level(world, folder, case):
    """Weights that have come apart on a rank are those of rank 0 again after a save."""
    spec = case["spec"]
    model = open_model(folder, spec)
    objective = open_objective(folder, spec, model)
    trainer = make_trainer(world, model, objective, spec["recipe"], case["micro_batches"], Path(case["state"]))
    with torch.no_grad():
        next(model.parameters()).add_(world.rank * 1e-7)
    trainer._save()
    trainer.loader.close()
    return world.gather(next(model.parameters()).double().sum().item())


FUNCTIONS = {function.__name__: function for function in (gradient_error, two_term_error, train_piece, overflow, level)}


def main():
    cases, folder, output = sys.argv[1:]
    torch.set_num_threads(1)
    answers = []
    with joined(torch.device("cpu")) as world:
        for case in json.loads(Path(cases).read_text()):
            answers.append(FUNCTIONS[case["do"]](world, Path(folder), case))
        if world.is_main:
            Path(output).write_text(json.dumps(answers))


def launch(ranks, cases, folder, scratch):
    """Run ``cases`` on ``ranks`` processes; returns their answers."""
    import subprocess

    (scratch / "cases.json").write_text(json.dumps(cases))
    (scratch / "answers.json").unlink(missing_ok=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*torchrun, __file__, scratch / "cases.json", folder, scratch / "answers.json"],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("[rank", "error"))]
    assert done.returncode == 0, "\n".join(said)[-6000:]
    return json.loads((scratch / "answers.json").read_text())


if __name__ == "__main__":
    leave_after(main)
