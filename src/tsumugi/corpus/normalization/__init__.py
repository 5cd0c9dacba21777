"""What is done to the text of every document, and what its characters are."""
