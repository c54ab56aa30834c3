"""Changes of predictions after the network."""
