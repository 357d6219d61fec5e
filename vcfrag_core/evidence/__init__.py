"""What the model is shown of the candidates and of the panel."""
