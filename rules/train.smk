# Needs: token files or pairs, and a tokenizer or the run to start from.
# Makes: results/models/{run}/seed{seed}/, a directory that Transformers opens; its manifest.json is written last.
#        Checkpoints of unfinished training live in state/{run}/seed{seed}/, which no rule declares: Snakemake removes
#        the declared outputs of a failed job, and a retry is to go on from there. A finished job removes them and leaves
#        a record of its result, which the end of the workflow removes.


rule train_model:
    """Train one model from scratch, from another run, or from a model that came from outside."""
    input:
        spec="results/specs/train_model/{run}.json",
        data=inputs.run_data,
        start=inputs.run_start,
    output:
        manifest="results/models/{run}/seed{seed}/manifest.json",
        metrics="results/models/{run}/seed{seed}/metrics.jsonl",
    log:
        "logs/train_model/{run}/seed{seed}.log",
    benchmark:
        "benchmarks/train_model/{run}/seed{seed}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: placement.timed_threads(placement.for_training)
    resources:
        **placement.resources(
            placement.for_training, mem_mb=placement.training.mem_mb, runtime=placement.training.minutes, timed=True
        ),
        # Where and how fast: resources and no params, for they change no result.
        processes=placement.processes,
        zero_stage=experiment.compute.zero_stage,
        offload=experiment.compute.offload,
        calibration=experiment.compute.calibration,
        compute_threads=placement.compute_threads(placement.for_training),
        checkpoint_seconds=experiment.compute.checkpoint_seconds,
        flags=placement.training_flags,
        node_launcher=placement.node_launcher,
    params:
        state="state/{run}/seed{seed}",
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        {resources.node_launcher} train_model.py \
            --spec {input.spec:q} \
            --seed {wildcards.seed} \
            --data {input.data:q} \
            --init-from {input.start:q} \
            --state {params.state:q} \
            --output {output.manifest:q} \
            --processes {resources.processes} \
            --zero-stage {resources.zero_stage} \
            --offload {resources.offload} \
            --calibration {resources.calibration:q} \
            --threads {resources.compute_threads} \
            {resources.flags} \
            --checkpoint-seconds {resources.checkpoint_seconds}
        """
