"""Tokenizers: training them, and turning text into token files."""
