# Needs: what the training of a run needs, and on a cluster the inventory of nodes.
# Makes: {compute.calibration}/, which training reads: the largest micro-batch that fits a device, and what a step takes
#        there; and in it runs/{run}/{kind}.json, which says what was found for a run on a kind of machine. No rule asks
#        for it: `snakemake calibrations` does. On a workstation the only kind is "here".


rule calibrate_model:
    """Find the largest micro-batch of a run on one kind of machine, and how long a step takes there."""
    input:
        spec="results/specs/train_model/{run}.json",
        data=inputs.run_data,
        start=inputs.calibrated_start,
    output:
        record=f"{experiment.compute.calibration}/runs/{{run}}/{{kind}}.json",
    log:
        "logs/calibrate_model/{run}/{kind}.log",
    benchmark:
        "benchmarks/calibrate_model/{run}/{kind}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: placement.timed_threads(placement.for_calibration)
    resources:
        **placement.resources(placement.for_calibration, mem_mb=6000, runtime=60, timed=True),
        calibration=experiment.compute.calibration,
        compute_threads=placement.compute_threads(placement.for_calibration),
        seed=inputs.first_seed,
        flags=placement.calibration_flags,
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        calibrate_model.py \
            --spec {input.spec:q} \
            --seed {resources.seed} \
            --data {input.data:q} \
            --init-from {input.start:q} \
            --threads {resources.compute_threads} \
            --output {resources.calibration:q} \
            {resources.flags} \
            --record {output.record:q}
        """
