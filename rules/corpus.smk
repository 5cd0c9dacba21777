# Needs: the configuration; apt-get and a network for debian_docs, files or their addresses for the other readers.
# Makes: results/corpora/{corpus}/: raw.json (what was fetched), rejected.parquet (records that are no documents), shards/
#        (normalized, filtered), signatures/ and duplicates/ (what is like what), clean/ (without duplicates), dropped/
#        (what went and why), split/ (ids of train, dev, test, and of the leaks among them), overlap.json, stats.json.
#        The raw files stay in data/{corpus}/; the raw shards are removed when they have been normalized.
#        A job that goes shard by shard takes a part of them: a single one, where there are not very many. It writes each
#        shard with its manifest and, last of all, part-{part}.json, which names these manifests.


rule fetch_corpus:
    """Fetch or find the raw files, and record what they are."""
    input:
        spec="results/specs/fetch_corpus/{corpus}.json",
        files=replaced.raw_inputs,
    output:
        manifest="results/corpora/{corpus}/raw.json",
    log:
        "logs/fetch_corpus/{corpus}.log",
    benchmark:
        "benchmarks/fetch_corpus/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=500, runtime=120),
    params:
        data="data/{corpus}",
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        fetch_corpus.py \
            --spec {input.spec:q} \
            --data {params.data:q} \
            --output {output.manifest:q}
        """


rule shard_corpus:
    """Read the raw files once and share their documents out to shards."""
    input:
        spec="results/specs/shard_corpus/{corpus}.json",
        raw="results/corpora/{corpus}/raw.json",
    output:
        manifest="results/corpora/{corpus}/sharded.json",
        rejected="results/corpora/{corpus}/rejected.parquet",
        shards=temp(directory("results/corpora/{corpus}/raw")),
    log:
        "logs/shard_corpus/{corpus}.log",
    benchmark:
        "benchmarks/shard_corpus/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=2000, runtime=720),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        shard_corpus.py \
            --spec {input.spec:q} \
            --raw {input.raw:q} \
            --shards {output.shards:q} \
            --rejected {output.rejected:q} \
            --output {output.manifest:q}
        """


rule normalize_shard:
    """Clean, normalize and filter each shard of a part."""
    input:
        spec="results/specs/normalize_shard/{corpus}.json",
        sharded="results/corpora/{corpus}/sharded.json",
        shards="results/corpora/{corpus}/raw",
    output:
        part="results/corpora/{corpus}/shards/part-{part}.json",
    log:
        "logs/normalize_shard/{corpus}/{part}.log",
    benchmark:
        "benchmarks/normalize_shard/{corpus}/{part}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=inputs.part_minutes(120)),
    params:
        shards=inputs.part_shards,
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        for shard in {params.shards}; do
            normalize_shard.py \
                --spec {input.spec:q} \
                --sharded {input.sharded:q} \
                --shard {input.shards:q}/$shard.parquet \
                --output results/corpora/{wildcards.corpus:q}/shards/$shard.json
        done
        gather_shards.py --shards {params.shards} --output {output.part:q}
        """


rule sign_shard:
    """Sign each document of a part by MinHash, for the search for near duplicates."""
    input:
        spec="results/specs/sign_shard/{corpus}.json",
        shards="results/corpora/{corpus}/shards/part-{part}.json",
    output:
        part="results/corpora/{corpus}/signatures/part-{part}.json",
    log:
        "logs/sign_shard/{corpus}/{part}.log",
    benchmark:
        "benchmarks/sign_shard/{corpus}/{part}.tsv"
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
            sign_shard.py \
                --spec {input.spec:q} \
                --shard results/corpora/{wildcards.corpus:q}/shards/$shard.json \
                --output results/corpora/{wildcards.corpus:q}/signatures/$shard.json
        done
        gather_shards.py --shards {params.shards} --output {output.part:q}
        """


rule find_duplicates:
    """Find documents with the same normalized text, or nearly the same, over all shards."""
    input:
        spec="results/specs/find_duplicates/{corpus}.json",
        shards=inputs.corpus_normalized,
        signatures=inputs.corpus_signatures,
    output:
        manifest="results/corpora/{corpus}/duplicates.json",
        duplicates=directory("results/corpora/{corpus}/duplicates"),
    log:
        "logs/find_duplicates/{corpus}.log",
    benchmark:
        "benchmarks/find_duplicates/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=2000, runtime=240),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        find_duplicates.py \
            --spec {input.spec:q} \
            --shards {input.shards:q} \
            --signatures {input.signatures:q} \
            --output {output.manifest:q}
        """


rule clean_shard:
    """Drop the duplicates of each shard of a part."""
    input:
        spec="results/specs/clean_shard/{corpus}.json",
        shards="results/corpora/{corpus}/shards/part-{part}.json",
        duplicates="results/corpora/{corpus}/duplicates.json",
    output:
        part="results/corpora/{corpus}/clean/part-{part}.json",
    log:
        "logs/clean_shard/{corpus}/{part}.log",
    benchmark:
        "benchmarks/clean_shard/{corpus}/{part}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=inputs.part_minutes(120)),
    params:
        shards=inputs.part_shards,
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        for shard in {params.shards}; do
            clean_shard.py \
                --spec {input.spec:q} \
                --shard results/corpora/{wildcards.corpus:q}/shards/$shard.json \
                --duplicates {input.duplicates:q} \
                --output results/corpora/{wildcards.corpus:q}/clean/$shard.json \
                --dropped results/corpora/{wildcards.corpus:q}/dropped/$shard.parquet
        done
        gather_shards.py --shards {params.shards} --output {output.part:q}
        """


rule split_corpus:
    """Decide once which documents are for training, development and test."""
    input:
        spec="results/specs/split_corpus/{corpus}.json",
        shards=inputs.corpus_clean,
    output:
        manifest="results/corpora/{corpus}/split/manifest.json",
        splits=expand(
            "results/corpora/{{corpus}}/split/{split}.parquet",
            split=SPLITS,
        ),
    log:
        "logs/split_corpus/{corpus}.log",
    benchmark:
        "benchmarks/split_corpus/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=4000, runtime=240),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        split_corpus.py \
            --spec {input.spec:q} \
            --shards {input.shards:q} \
            --output {output.manifest:q}
        """


rule find_leaks:
    """Find the train and dev documents that are nearly a test document, of this corpus or of another task's."""
    input:
        spec="results/specs/find_leaks/{corpus}.json",
        corpora=inputs.leak_corpora,
    output:
        manifest="results/corpora/{corpus}/split/leaks.json",
        leaks="results/corpora/{corpus}/split/leaks.parquet",
    log:
        "logs/find_leaks/{corpus}.log",
    benchmark:
        "benchmarks/find_leaks/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: placement.cpu_threads(4)
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=720, threads=4),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        find_leaks.py \
            --spec {input.spec:q} \
            --threads {threads} \
            --output {output.manifest:q}
        """


rule measure_overlap:
    """Measure how much of the test text also stands in train."""
    input:
        spec="results/specs/measure_overlap/{corpus}.json",
        split=inputs.corpus_split,
        shards=inputs.corpus_clean,
    output:
        manifest="results/corpora/{corpus}/overlap.json",
        documents="results/corpora/{corpus}/overlap.parquet",
    log:
        "logs/measure_overlap/{corpus}.log",
    benchmark:
        "benchmarks/measure_overlap/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=2000, runtime=240),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        measure_overlap.py \
            --spec {input.spec:q} \
            --output {output.manifest:q}
        """


rule summarize_corpus:
    """Add up the statistics of every step."""
    input:
        spec="results/specs/summarize_corpus/{corpus}.json",
        raw="results/corpora/{corpus}/raw.json",
        sharded="results/corpora/{corpus}/sharded.json",
        shards=inputs.corpus_clean,
        split="results/corpora/{corpus}/split/manifest.json",
        leaks="results/corpora/{corpus}/split/leaks.json",
        overlap="results/corpora/{corpus}/overlap.json",
    output:
        manifest="results/corpora/{corpus}/stats.json",
    log:
        "logs/summarize_corpus/{corpus}.log",
    benchmark:
        "benchmarks/summarize_corpus/{corpus}.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=500, runtime=30),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        summarize_corpus.py \
            --spec {input.spec:q} \
            --raw {input.raw:q} \
            --sharded {input.sharded:q} \
            --shards {input.shards:q} \
            --split {input.split:q} \
            --leaks {input.leaks:q} \
            --overlap {input.overlap:q} \
            --output {output.manifest:q}
        """
