"""S3: where a group shares data, cache, runs and models. The only importer of boto3."""
