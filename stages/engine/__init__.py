"""What carries a stage out: loaded models, embeddings, policies that are sampled and trained."""
