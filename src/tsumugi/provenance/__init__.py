"""Manifests: what a result was made from, and the walk that proves it."""

from tsumugi.provenance.manifest import Manifest, file_sha256, identity, read_manifest, seen, write_manifest
from tsumugi.provenance.verify_provenance import verify

__all__ = ["Manifest", "file_sha256", "identity", "read_manifest", "seen", "verify", "write_manifest"]
