# Raw files, and models from outside, that were replaced since their results were made. No rules.

from snakemake.logging import logger
from tsumugi.corpus.sources.addresses import is_url, name_of
from tsumugi.provenance import read_manifest
from tsumugi.provenance.external_files import HashMemory, changed_files

SHOWN = 5  # of the files that were replaced
REPLACED = set()  # manifests of results whose input files differ from the recorded ones


def make_again_if_replaced(manifest):
    """Have Snakemake make a result anew whose files were replaced, whatever their times say.

    Called by the rule's input function: the jobs are being planned then, and none of them has been decided on.
    """
    if manifest in REPLACED and workflow.is_main_process:
        workflow.dag.forcefiles.add(manifest)


def check_found_files():
    """Compare the raw files, and the models from outside, with what the manifests of their results recorded of them.

    Snakemake looks at times: it does not see a file that was replaced by an older one. And where the files that the
    configuration names are gone, it finds their results and asks for no more: what an input function raises is not
    heard then.
    """
    memory = HashMemory(".snakemake/found_files.json")
    for corpus in experiment.corpora:
        made = f"results/corpora/{corpus}/raw.json"
        if not os.path.exists(made):
            continue
        if spec_of(made) != SPECS["fetch_corpus"](experiment, corpus):
            raw_files(corpus)  # made with another configuration; are the files of this one there?
            continue
        recorded = set(read_manifest(made)["outputs"])
        one_part = experiment.corpora[corpus].reader == "hf_dataset"  # of a saved dataset; others may lie beside it
        own = lambda: recorded.intersection(raw_files(corpus)) if one_part else raw_files(corpus)
        compare_found_files(made, recorded, own, fetched_files(corpus, recorded), memory)
    for run in dict.fromkeys(experiment.first_run(run) for run in experiment.runs):
        made, source = f"results/tokenizers/from-{run}/manifest.json", experiment.runs[run].init_from
        if source is None or not os.path.exists(made) or (spec_of(made) or {}).get("source") != source:
            continue
        recorded = {name for name in read_manifest(made)["outputs"] if not name.startswith(f"{os.path.dirname(made)}/")}
        compare_found_files(made, recorded, lambda: model_files(run), set(), memory)
    memory.save()


def fetched_files(corpus, recorded):
    """Those of the recorded raw files that a reader has fetched: when they are gone, others may come in their place."""
    section = experiment.corpora[corpus]
    if section.reader == "hf_dataset" and section.folder:
        return set()
    if not hasattr(section, "files"):
        return recorded
    return {f"data/{corpus}/{name_of(file)}" for file in section.files if is_url(file)}


def compare_found_files(manifest, recorded, find, fetched, memory):
    """Note whether a result has to be made again, and say why; or say that it cannot be.

    ``find()`` gives the files of one's own that there are now, those that are not ``fetched``.
    """
    changes = changed_files(manifest, sorted(recorded), memory)
    gone = {name for name in changes if not os.path.isfile(name)}
    try:
        new = {os.path.relpath(name) for name in find()} - recorded
    except WorkflowError:
        new, is_complete = set(), False
    else:
        is_complete = not gone & fetched
    changes |= {name: f"is new since {manifest} was written" for name in sorted(new)}
    if changes and is_complete:
        REPLACED.add(manifest)
    outcome = "results that depend on it will be made again" if is_complete else "results made from it are kept"
    for name, reason in list(changes.items())[:SHOWN]:
        logger.warning(f"{name}: {reason}; {outcome}")
    if len(changes) > SHOWN:
        logger.warning(f"{manifest}: the same holds for {len(changes) - SHOWN} more file(s)")


def spec_of(manifest):
    """What a manifest was made from; None of a file that is none: the job that reads it says so."""
    try:
        return read_manifest(manifest)["spec"]
    except TsumugiError:
        return None
