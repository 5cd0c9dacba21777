# Needs: token files or pairs, and a tokenizer or the run to start from.
# Makes: results/models/{run}/seed{seed}/, a directory that Transformers opens; its manifest.json is written last.
#        Checkpoints of unfinished training live in state/{run}/seed{seed}/, which no rule declares: Snakemake removes
#        the declared outputs of a failed job, and a retry is to go on from there.


rule train_model:
    """Train one model from scratch, from another run, or from a model that came from outside."""
    input:
        spec="results/specs/train_model/{run}.json",
        data=run_data,
        start=run_start,
    output:
        manifest="results/models/{run}/seed{seed}/manifest.json",
        metrics="results/models/{run}/seed{seed}/metrics.jsonl",
    log:
        "logs/train_model/{run}/seed{seed}.log",
    benchmark:
        "benchmarks/train_model/{run}/seed{seed}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: timed_threads
    resources:
        mem_mb=6000,
        runtime=720,
        compute_threads=experiment.compute.threads,
        micro_batch=run_micro_batch,
        checkpoint_seconds=experiment.compute.checkpoint_seconds,
    params:
        state="state/{run}/seed{seed}",
    shell:
        r"""
        exec &> >(trap '' TERM INT && exec tee {log:q})

        python "$TSUMUGI_SCRIPTS"/train_model.py \
            --spec {input.spec:q} \
            --seed {wildcards.seed} \
            --data {input.data:q} \
            --start {input.start:q} \
            --state {params.state:q} \
            --output {output.manifest:q} \
            --micro-batch {resources.micro_batch} \
            --threads {resources.compute_threads} \
            --checkpoint-seconds {resources.checkpoint_seconds}
        """
