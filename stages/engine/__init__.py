"""Execution of stages: loaded models, embeddings, and the policies for sampling and training."""
