"""What sbatch says when it takes no job: whether waiting helps, or nothing but a change of the request."""

import re
from enum import Enum

# Slurm's own words (src/common/slurm_errno.c and the reasons of job_reason_string()), the same in every language.
PASSING = re.compile(
    r"\w*SubmitJob\w*Limit"  # AssocMaxSubmitJobLimit, QOSMaxSubmitJobPerUserLimit, …: until some jobs have ended
    r"|Resource temporarily unavailable|temporarily unable to accept job|job queue full"  # MaxJobCount
    r"|Unable to create job record|Job creation temporarily disabled|Requested nodes are busy"
    r"|Unable to contact slurm controller|in standby mode|operation is presently disabled"
    r"|Socket timed out|Zero Bytes were transmitted|Header lengths are longer"
    r"|Connection (?:refused|reset|timed out)|Communication connection failure|Message (?:send|receive) failure"
    r"|Database connection reference is invalid|the DB index is being set|Reservation .*not usable now"
    r"|Requested reservation not usable now|Required partition not available|try again (?:later|in a bit)",
    re.IGNORECASE,
)
FINAL = re.compile(
    r"invalid (?!.*credential)|not permitted|permission denied|access denied|unrecognized option|not supported"
    r"|Requested node configuration is not available|Requested nodes not in this partition"
    r"|More processors requested|more tasks than available|can not be satisfied|Memory required by task"
    r"|violates accounting/QOS policy|Requested time limit|Time limit specification required"
    r"|No partition specified|Job size specification|Pathname .* too long",
    re.IGNORECASE,
)
LAST_WORD = re.compile(r"(?:Batch job submission failed|Unable to allocate resources): (.*)")
UNCERTAIN = re.compile(
    r"Socket timed out|Zero Bytes were transmitted|receive failure|send failure|Connection reset|Header lengths",
    re.IGNORECASE,
)


class Refusal(Enum):
    """PASSING: the same submission is taken later. FINAL: it never is. UNKNOWN: neither is known."""

    PASSING = "passing"
    FINAL = "final"
    UNKNOWN = "unknown"


def kind_of_refusal(text: str) -> Refusal:
    """What follows from the text that ``sbatch`` has printed to its error output.

    Its last word decides, for it may have tried several times before; the policy of accounts has one last word for
    limits on the number of jobs and for those on their size, and gives the name of the limit in the line before.
    """
    last = LAST_WORD.findall(text)
    if last and "violates accounting/QOS policy" not in last[-1]:
        text = last[-1]
    if PASSING.search(text):
        return Refusal.PASSING
    return Refusal.FINAL if FINAL.search(text) else Refusal.UNKNOWN


def may_have_been_taken(text: str) -> bool:
    """Whether Slurm may have taken the job all the same: its answer was lost."""
    return UNCERTAIN.search(text) is not None


def in_short(text: str) -> str:
    """The reason in a few words: what the error names last, or the limit in the line before."""
    limit = re.search(r"\w*SubmitJob\w*Limit", text)
    last = LAST_WORD.findall(text)
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()] or [""]
    if limit:
        return limit[0]
    return (
        last[-1].strip() if last else lines[-1].removeprefix("sbatch: error: ").removesuffix(", sleeping and retrying")
    )
