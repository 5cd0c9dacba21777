"""Writing an output for every test document, and what that cost."""
