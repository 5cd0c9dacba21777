# Needs: a finished run, the encoded pairs of its task (its own prompt and tokenizer), the clean shards of the corpus.
# Makes: results/generations/{run}/seed{seed}/{task}.jsonl, an output for every test document; {task}.texts.parquet, the
#        outputs alone; {task}.json, the manifest with times and peak memory.


rule generate_text:
    """Write an output for every test document. Timed: it has the machine for itself."""
    input:
        spec="results/specs/generate_text/{task}.json",
        model="results/models/{run}/seed{seed}/manifest.json",
        pairs=inputs.run_pairs,
        clean=inputs.task_clean,
    output:
        manifest="results/generations/{run}/seed{seed}/{task}.json",
        lines="results/generations/{run}/seed{seed}/{task}.jsonl",
        texts="results/generations/{run}/seed{seed}/{task}.texts.parquet",
    log:
        "logs/generate_text/{run}/seed{seed}/{task}.log",
    benchmark:
        "benchmarks/generate_text/{run}/seed{seed}/{task}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: placement.timed_threads(placement.for_model(mem_mb=4000, runtime=240))
    resources:
        **placement.resources(placement.for_model(mem_mb=4000, runtime=240), mem_mb=4000, runtime=240, timed=True),
        compute_threads=placement.compute_threads(placement.for_model(mem_mb=4000, runtime=240)),
        micro_batch=placement.micro_batch,
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        generate_text.py \
            --spec {input.spec:q} \
            --model {input.model:q} \
            --pairs {input.pairs:q} \
            --clean {input.clean:q} \
            --threads {resources.compute_threads} \
            --micro-batch {resources.micro_batch} \
            --output {output.manifest:q}
        """
