# Needs: models, generations and scores of every run that a report compares, the counted n-grams, the corpora's figures
#        and the tokenizers' fertility.
# Makes: results/report/index.html (one self-contained page), its tables as CSV and its plots as SVG beside it, and
#        results/report/manifest.json. `snakemake verify_provenance` compares all results that there are, report or not,
#        with their manifests.


rule build_report:
    """Make the tables, the plots and the page of every comparison in the configuration."""
    input:
        spec="results/specs/build_report/report.json",
        manifests=inputs.report_inputs,
    output:
        page="results/report/index.html",
        comparison=report(
            expand("results/report/{report}.comparison.csv", report=experiment.reports),
            caption="report/comparison.rst",
            category="Tables",
            labels={"table": "main comparison"},
        ),
        differences=report(
            expand("results/report/{report}.differences.csv", report=experiment.reports),
            caption="report/differences.rst",
            category="Tables",
            labels={"table": "paired differences"},
        ),
        cost=report(
            expand("results/report/{report}.cost.csv", report=experiment.reports),
            caption="report/cost.rst",
            category="Tables",
            labels={"table": "cost"},
        ),
        setup=report(
            expand("results/report/{report}.setup.csv", report=experiment.reports),
            caption="report/setup.rst",
            category="Tables",
            labels={"table": "what differs"},
        ),
        learning=report(
            expand("results/report/{report}.learning.svg", report=experiment.reports),
            caption="report/learning.rst",
            category="Plots",
            labels={"plot": "learning curves"},
        ),
        intervals=report(
            expand("results/report/{report}.intervals.svg", report=experiment.reports),
            caption="report/intervals.rst",
            category="Plots",
            labels={"plot": "measures with intervals"},
        ),
        manifest="results/report/manifest.json",
    log:
        "logs/build_report/report.log",
    benchmark:
        "benchmarks/build_report/report.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=2000, runtime=60),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        build_report.py \
            --spec {input.spec:q} \
            --output {output.manifest:q}
        """


rule verify_provenance:
    """Hash every file of every result that there is, back to the raw files; fail on any that differs. Makes nothing."""
    input:
        spec=verified_results,
    log:
        "logs/verify_provenance/results.log",
    benchmark:
        "benchmarks/verify_provenance/results.tsv"
    conda:
        "../envs/cpu.yaml"
    threads: 1
    resources:
        **placement.cpu_resources(mem_mb=1000, runtime=240),
    shell:
        r"""
        exec &> >(trap '' TERM INT HUP && exec tee {log:q})

        verify_provenance.py --experiment {input.spec:q}
        """
