# Needs: the configuration.
# Makes: results/specs/{stage}/{name}.json, the part of the configuration that decides the result of one job.
#        Snakemake compares these small files by content: a change of config re-runs what stands on it, nothing else.


rule write_spec:
    """Write what decides one job's result to a file that its script reads."""
    output:
        "results/specs/{stage}/{name}.json",
    log:
        "logs/write_spec/{stage}/{name}.log",
    benchmark:
        "benchmarks/write_spec/{stage}/{name}.tsv"
    localrule: True
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        mem_mb=100,
        runtime=5,
    params:
        spec=spec_json,
    shell:
        r"""
        exec 2>{log:q}

        printf '%s\n' {params.spec:q} >{output:q}.tmp
        mv {output:q}.tmp {output:q}
        """
