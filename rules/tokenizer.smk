# Needs: clean shards and the split of each corpus.
# Makes: results/tokenizers/{tokenizer}/, a directory that AutoTokenizer opens, with its fertility; token files of the
#        train and dev documents (never of a test document), with a part-{part}.json as in corpus.smk; the supervised
#        pairs of each task and prompt.
#        A tokenizer that came with a model from outside is copied to the same place under the name from-{run}, and
#        the World tokenizer, which nothing trains, is copied out of its package.


rule train_tokenizer:
    """Train a SentencePiece tokenizer on the train splits of its corpora."""
    input:
        spec="results/specs/train_tokenizer/{tokenizer}.json",
        corpora=inputs.tokenizer_corpora,
    output:
        manifest="results/tokenizers/{tokenizer}/manifest.json",
        tokenizer="results/tokenizers/{tokenizer}/tokenizer.json",
        config="results/tokenizers/{tokenizer}/tokenizer_config.json",
        model="results/tokenizers/{tokenizer}/sentencepiece.model",
    log:
        "logs/train_tokenizer/{tokenizer}.log",
    benchmark:
        "benchmarks/train_tokenizer/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer=inputs.tokenizers_of("unigram", "bpe"),
    conda:
        "../envs/cpu.yaml"
    threads: placement.cpu_threads(2)
    resources:
        **placement.cpu_resources(mem_mb=4000, runtime=120, threads=2),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        train_tokenizer.py \
            --spec {input.spec:q} \
            --output {output.manifest:q}
        """


rule make_world_tokenizer:
    """Write RWKV's World tokenizer into a folder, with its fixed vocabulary."""
    output:
        manifest="results/tokenizers/{tokenizer}/manifest.json",
        vocabulary="results/tokenizers/{tokenizer}/rwkv_vocab_v20230424.txt",
        config="results/tokenizers/{tokenizer}/tokenizer_config.json",
    log:
        "logs/make_world_tokenizer/{tokenizer}.log",
    benchmark:
        "benchmarks/make_world_tokenizer/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer=inputs.tokenizers_of("world"),
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=10),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        make_world_tokenizer.py \
            --output {output.manifest:q}
        """


rule import_tokenizer:
    """Copy the tokenizer of a model that came from outside, and record the files of that model."""
    input:
        spec="results/specs/import_tokenizer/{tokenizer}.json",
        source=replaced.outside_model,
    output:
        manifest="results/tokenizers/{tokenizer}/manifest.json",
    log:
        "logs/import_tokenizer/{tokenizer}.log",
    benchmark:
        "benchmarks/import_tokenizer/{tokenizer}.tsv"
    wildcard_constraints:
        tokenizer=r"from-[^/.]+",
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=30),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        import_tokenizer.py \
            --spec {input.spec:q} \
            --output {output.manifest:q}
        """


rule measure_tokenizer:
    """Measure how finely a tokenizer cuts the test documents of its corpora."""
    input:
        spec="results/specs/train_tokenizer/{tokenizer}.json",
        tokenizer="results/tokenizers/{tokenizer}/manifest.json",
        corpora=inputs.tokenizer_corpora,
    output:
        manifest="results/tokenizers/{tokenizer}/fertility.json",
    log:
        "logs/measure_tokenizer/{tokenizer}.log",
    benchmark:
        "benchmarks/measure_tokenizer/{tokenizer}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=60),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        measure_tokenizer.py \
            --spec {input.spec:q} \
            --tokenizer results/tokenizers/{wildcards.tokenizer:q} \
            --output {output.manifest:q}
        """


rule encode_shard:
    """Encode the train and dev documents of each clean shard of a part into token files."""
    input:
        tokenizer="results/tokenizers/{tokenizer}/manifest.json",
        clean="results/corpora/{corpus}/clean/part-{part}.json",
        split=inputs.corpus_split,
    output:
        part="results/tokens/{corpus}/{tokenizer}/part-{part}.json",
    log:
        "logs/encode_shard/{corpus}/{tokenizer}/{part}.log",
    benchmark:
        "benchmarks/encode_shard/{corpus}/{tokenizer}/{part}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=inputs.part_minutes(60)),
    params:
        shards=inputs.part_shards,
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        for shard in {params.shards}; do
            encode_shard.py \
                --corpus {wildcards.corpus:q} \
                --shard $shard \
                --tokenizer results/tokenizers/{wildcards.tokenizer:q} \
                --output results/tokens/{wildcards.corpus:q}/{wildcards.tokenizer:q}/$shard.json
        done
        gather_shards.py --shards {params.shards} --output {output.part:q}
        """


rule encode_pairs:
    """Encode the supervised pairs of a task, for one prompt and one tokenizer."""
    input:
        spec="results/specs/encode_pairs/{task}.{prompt}.json",
        tokenizer="results/tokenizers/{tokenizer}/manifest.json",
        split=inputs.task_split,
        clean=inputs.task_clean,
    output:
        manifest="results/pairs/{task}/{prompt}/{tokenizer}/manifest.json",
        files=expand(
            "results/pairs/{{task}}/{{prompt}}/{{tokenizer}}/{split}.{ending}",
            split=SPLITS,
            ending=["bin", "idx", "parquet"],
        ),
    log:
        "logs/encode_pairs/{task}/{prompt}/{tokenizer}.log",
    benchmark:
        "benchmarks/encode_pairs/{task}/{prompt}/{tokenizer}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=120),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        encode_pairs.py \
            --spec {input.spec:q} \
            --tokenizer results/tokenizers/{wildcards.tokenizer:q} \
            --output {output.manifest:q}
        """
