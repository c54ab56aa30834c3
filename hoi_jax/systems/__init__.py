"""One folder per published HOI method; systems never import one another."""
