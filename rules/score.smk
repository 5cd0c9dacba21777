# Needs: finished runs and their generations; the encoded pairs, train token files and clean shards of the task's corpus.
# Makes: results/scores/{run}/seed{seed}/{task}.likelihood.json and {task}.quality.json, and the floor of the comparison,
#        results/scores/baselines/{task}.{tokenizer}.json. Each is a manifest with the figures and their intervals; the
#        values of single documents lie beside it in a .parquet.


rule score_likelihood:
    """Bits per byte of the test documents under their own titles and under others."""
    input:
        spec="results/specs/score_likelihood/{task}.json",
        model="results/models/{run}/seed{seed}/manifest.json",
        pairs=inputs.run_pairs,
        clean=inputs.task_clean,
    output:
        manifest="results/scores/{run}/seed{seed}/{task}.likelihood.json",
        documents="results/scores/{run}/seed{seed}/{task}.likelihood.parquet",
    log:
        "logs/score_likelihood/{run}/seed{seed}/{task}.log",
    benchmark:
        "benchmarks/score_likelihood/{run}/seed{seed}/{task}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 2
    resources:
        **placement.resources(placement.for_model(mem_mb=4000, runtime=240, threads=2), mem_mb=4000, runtime=240),
        micro_batch=placement.micro_batch,
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        score_likelihood.py \
            --spec {input.spec:q} \
            --model {input.model:q} \
            --pairs {input.pairs:q} \
            --clean {input.clean:q} \
            --threads {threads} \
            --micro-batch {resources.micro_batch} \
            --output {output.manifest:q}
        """


rule score_quality:
    """chrF, ROUGE-L, title words, variety, repetition and length of the generated texts."""
    input:
        spec="results/specs/score_quality/{task}.json",
        generations="results/generations/{run}/seed{seed}/{task}.json",
        lines="results/generations/{run}/seed{seed}/{task}.jsonl",
    output:
        manifest="results/scores/{run}/seed{seed}/{task}.quality.json",
        documents="results/scores/{run}/seed{seed}/{task}.quality.parquet",
    log:
        "logs/score_quality/{run}/seed{seed}/{task}.log",
    benchmark:
        "benchmarks/score_quality/{run}/seed{seed}/{task}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=2000, runtime=60),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        score_quality.py \
            --spec {input.spec:q} \
            --generations {input.generations:q} \
            --output {output.manifest:q}
        """


rule score_ngrams:
    """Bits per byte of counted n-gram models of order 1 to 3: the floor of the comparison."""
    input:
        spec="results/specs/score_ngrams/{task}.json",
        tokenizer="results/tokenizers/{tokenizer}/manifest.json",
        tokens=inputs.task_tokens,
        pairs=inputs.baseline_pairs,
        clean=inputs.task_clean,
    output:
        manifest="results/scores/baselines/{task}.{tokenizer}.json",
        documents="results/scores/baselines/{task}.{tokenizer}.parquet",
    log:
        "logs/score_ngrams/{task}.{tokenizer}.log",
    benchmark:
        "benchmarks/score_ngrams/{task}.{tokenizer}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=4000, runtime=60),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        score_ngrams.py \
            --spec {input.spec:q} \
            --tokenizer {input.tokenizer:q} \
            --tokens {input.tokens:q} \
            --pairs {input.pairs:q} \
            --clean {input.clean:q} \
            --output {output.manifest:q}
        """
