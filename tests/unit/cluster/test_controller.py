"""Waiting for Slurm's controller: here ``scontrol`` is a small script, tests/cluster does it with a real one."""

from tsumugi.cluster.controller import wait_for_controller


def test_the_controller_is_asked_until_it_answers(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\necho "Slurmctld(primary) at one is DOWN"\n'
        f'[ "$(wc -l < "{tmp_path}/asked")" -lt 2 ] || echo "Slurmctld(backup) at other is UP"\nexit 1\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wait_for_controller()
    assert (tmp_path / "asked").read_text() == "ping\nping\n"


def test_without_slurm_nothing_is_waited_for(tmp_path, monkeypatch):
    sleep = tmp_path / "sleep"
    sleep.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/slept"\n')
    sleep.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    wait_for_controller()
    assert not (tmp_path / "slept").exists()
