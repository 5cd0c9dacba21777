"""What slurm_extra may say, and what it may not: a run's needs do not depend on it."""

import pytest

from tsumugi.errors import TsumugiError
from tsumugi.slurm.sbatch_options import check_extra, has_whole_nodes, needed_options

WHOLE, SHARED, SPANNING = {"exclusive": True}, {"exclusive": False}, {"nodes": 2}


@pytest.mark.parametrize(
    ("resources", "options"),
    [
        ({}, []),
        ({"nodes": 1, "exclusive": False, "mem_mb": 6000, "shared_mem_mb": 6000}, []),
        ({"exclusive": True, "mem_mb": 6000, "shared_mem_mb": 6000}, ["--exclusive", "--mem=0"]),
        ({"exclusive": True, "mem_mb": 9000, "shared_mem_mb": 6000}, ["--exclusive"]),  # set by hand
        ({"exclusive": True, "mem_mb": 6000}, ["--exclusive"]),  # the memory keeps it off smaller nodes
        ({"nodes": 2, "exclusive": False, "mem_mb": 6000, "shared_mem_mb": 6000}, ["--exclusive", "--mem=0"]),
    ],
)
def test_whole_nodes_come_with_all_their_memory(resources, options):
    assert needed_options(resources) == options


@pytest.mark.parametrize(("said", "whole"), [(True, True), (1, True), ("true", True), ("False", False), (0, False)])
def test_exclusive_is_true_or_false(said, whole):
    assert has_whole_nodes({"exclusive": said}) == whole
    with pytest.raises(TsumugiError, match="the resource exclusive is 'user'; write true or false"):
        has_whole_nodes({"exclusive": "user"})


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "--mail-type=FAIL --mail-user=me@example.org",
        "--mail-type FAIL",
        "--exclude=gpu-n,node-J1 --reservation=maint-p --nice=5",  # names that look like short options
        "--account=lab --qos=high",
        "-A lab -w node1 --signal=B:TERM@300",
        "--exclusive",
        "--comment-like-reservation 'a b'",
        "--time-min=10 --contiguous --mem-bind=local --export-file=x --wait-all-nodes=1",
    ],
)
@pytest.mark.parametrize("resources", [WHOLE, SHARED, SPANNING])
def test_what_concerns_no_need_is_the_users(extra, resources):
    check_extra(extra, resources, "train_model")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("--gres=gpu:1", r"slurm_extra of train_model, '--gres=gpu:1': --gres: it follows from compute\.needs"),
        ("--mail-type=FAIL --gre gpu:1", "--gres: it follows"),
        ("--nodes 3", "--nodes: it follows"),
        ("-N3", "--nodes: it follows"),
        ("-p long", "--partition: it follows"),
        ("--gpus-per-node=2", "--gpus-per-node: it follows"),
        ("--mem=4G", "--mem: set the resource mem_mb"),
        ("-t 10", "--time: set the resource runtime"),
        ("--job-name=mine", "--job-name: that is for Snakemake alone"),
        ("exclusive", "'exclusive' is no option of sbatch"),
        ("--mail-type=FAIL FAIL", "'FAIL' is no option"),
        ("--comment='a", "No closing quotation"),
    ],
)
@pytest.mark.parametrize("resources", [WHOLE, SHARED, SPANNING])
def test_what_says_otherwise_what_the_run_needs_is_refused(extra, message, resources):
    with pytest.raises(TsumugiError, match=message):
        check_extra(extra, resources, "train_model")


@pytest.mark.parametrize("extra", ["--exclusive=user", "--exclusiv=mcs", "--oversubscribe", "-s", "--share"])
def test_what_shares_a_node_is_refused_only_where_the_job_has_it_whole(extra):
    check_extra(extra, SHARED, "generate_text")
    with pytest.raises(TsumugiError, match="set generate_text: exclusive: false"):
        check_extra(extra, WHOLE, "generate_text")
    with pytest.raises(TsumugiError, match="several nodes, which it must have whole"):
        check_extra(extra, SPANNING, "generate_text")
