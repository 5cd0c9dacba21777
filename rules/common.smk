# The rules' input functions, threads and resources, and checks of the whole workflow. No rules.

from tsumugi.layout import SPLITS
from tsumugi.workflow.hangup import stop_jobs_at_hangup
from tsumugi.workflow.inputs import JobInputs
from tsumugi.workflow.placement import Placement
from tsumugi.workflow.replaced_files import ReplacedFiles

# At most so many jobs of a stage that goes shard by shard: a job takes several shards where there are more. Snakemake
# plans thousands of jobs slowly, its own groups slower still, and no queue likes them.
SHARD_JOBS = 100

inputs = JobInputs(experiment, SHARD_JOBS)
replaced = ReplacedFiles(workflow, experiment, inputs)
placement = Placement(workflow, experiment)

if placement.on_cluster:
    from tsumugi.slurm.executor import mend_plugin, mend_plugin_inside  # with pandas, which a workstation need not load

    if workflow.is_main_process:
        mend_plugin(Path.cwd())
    else:
        mend_plugin_inside()
elif workflow.is_main_process:
    stop_jobs_at_hangup()  # on a cluster they go on, and the next Snakemake with them


def spec_json(wildcards):
    """The spec of one job as JSON; as a param it is tracked by Snakemake."""
    spec = SPECS[wildcards.stage](experiment, wildcards.name)
    return json.dumps(spec, ensure_ascii=False, indent=2)


def verified_results(_):
    """Spec of the job that verifies. It runs whenever it is asked for: Snakemake cannot know that files have changed."""
    if workflow.is_main_process:
        workflow.dag.forcerules.add(workflow.get_rule("verify_provenance"))
    return "results/specs/verify_provenance/results.json"
