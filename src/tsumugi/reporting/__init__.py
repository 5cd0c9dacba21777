"""The report: tables, figures and one self-contained page, made from the manifests of everything that was compared."""
