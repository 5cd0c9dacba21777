"""The base class of all sections of the configuration, and the YAML and JSON files that are checked against them."""
