"""The processes of a run: how they start, meet, stop, and notice that one is gone."""
