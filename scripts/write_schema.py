#!/usr/bin/env python
"""Write config.schema.json, the JSON schema of config.yaml for editors, from the pydantic models.

python scripts/write_schema.py
"""

import argparse
from pathlib import Path

from tsumugi.atomic import write_json
from tsumugi.config.experiment import Config
from tsumugi.errors import run_cli

SCHEMA = Path(__file__).parent.parent / "config.schema.json"


def main() -> None:
    """Write the schema beside config.yaml."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    write_json(SCHEMA, Config.model_json_schema())
    print(SCHEMA.name)


if __name__ == "__main__":
    run_cli(main)
