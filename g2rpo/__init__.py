"""G²RPO: the method. Tensors in, named records out; no files, no Parquet, no Prefect, no MLflow."""
