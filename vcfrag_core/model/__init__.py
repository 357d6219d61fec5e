"""The transformer: configuration, network, embedding, losses; one layer without torch."""
