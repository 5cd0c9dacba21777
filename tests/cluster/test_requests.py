"""What a real Slurm makes of a request: CPUs, memory and whole nodes, whatever the user's own options say."""

import re

import pytest
import snakemake_executor_plugin_slurm as plugin

from through_slurm import NODES
from tsumugi.cluster.inventory import load_inventory
from tsumugi.config.needs import Needs
from tsumugi.slurm.matching import Defaults
from tsumugi.slurm.request import make_request
from tsumugi.slurm.sbatch_options import needed_options

TRAINING = Defaults(mem_mb=3000, minutes=720, threads=2, resumes=True)


class Resources(dict):
    """A job's resources, as the plugin reads them."""

    __getattr__ = dict.__getitem__


class Job:
    """As much of Snakemake's job as the plugin reads."""

    def __init__(self, request, **others):
        said = {name: value for name, value in request.resources().items() if value is not None}
        self.resources, self.threads = Resources(said | others), 1  # as on a login node with one core


@pytest.fixture
def submitted(cluster, tmp_path):
    """Submits a job for some needs, to be held, and says what Slurm has noted of it."""
    numbers = []

    def submit(needs, **others):
        request = make_request(load_inventory(NODES), Needs.model_validate(needs), "compute.needs.run", TRAINING)
        job = Job(request, **others)
        params = {"run_uuid": "run", "slurm_logfile": tmp_path / "log", "comment_str": "", "account": ""}
        partition = f"-p {request.partition}"
        call = plugin.get_submit_command(job, params | {"partition": partition, "workdir": str(tmp_path)})
        line = " ".join([call, *needed_options(job.resources), "--hold", "--wrap=true"])
        numbers.append(cluster.run("sh", "-c", line).stdout.strip())
        shown = cluster.run("scontrol", "show", "job", "--oneliner", numbers[-1]).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", shown))

    yield submit
    cluster.run("scancel", *numbers)


@pytest.mark.parametrize(
    ("needs", "cpus", "memory"),
    [
        ({"kinds": ["a48"]}, "2", "3000M"),
        ({"kinds": ["v32"], "world_size": 2}, "4", "6000M"),
        ({"kinds": ["v32"], "world_size": 2, "memory_gib": 4}, "4", "4G"),
        ({"kinds": ["cpu"], "world_size": 4}, "4", "12000M"),  # as many CPUs as there are: one for each
    ],
)
def test_cpus_and_memory_of_a_job_on_a_shared_node(submitted, needs, cpus, memory):
    job = submitted(needs)
    assert (job["NumCPUs"], job["MinMemoryNode"], job["OverSubscribe"]) == (cpus, memory, "OK")


@pytest.mark.parametrize("extra", ["", "--mail-type=FAIL", "--exclude=cpu-1 --nice=10"])
@pytest.mark.parametrize(
    ("needs", "exclusive"),
    [
        ({"kinds": ["v32"]}, True),
        ({"nodes": {"a48": 1, "v32": 1}}, False),  # whole nodes without being asked to
    ],
)
def test_a_job_with_whole_nodes_has_all_their_memory_whatever_slurm_extra_says(submitted, needs, exclusive, extra):
    job = submitted(needs, exclusive=exclusive, slurm_extra=extra)
    assert (job["OverSubscribe"], job["MinMemoryNode"]) == ("NO", "0")
    assert job.get("ExcNodeList", "") == ("cpu-1" if "exclude" in extra else "(null)")


def test_memory_that_was_set_by_hand_is_what_is_asked_for(submitted):
    assert submitted({"kinds": ["v32"]}, exclusive=True, mem_mb=9000)["MinMemoryNode"] == "9000M"
