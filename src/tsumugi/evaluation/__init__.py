"""Scoring: how well a model predicts the test documents, how good its texts are, and how sure those figures are."""
