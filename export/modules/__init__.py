"""The model's parts as torch modules: one module per graph, and the speaker encoder."""
