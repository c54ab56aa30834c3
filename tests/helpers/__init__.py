"""What several tests share: small systems, synthetic batches and datasets, plain implementations to compare with."""
