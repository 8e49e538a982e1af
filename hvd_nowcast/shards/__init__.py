"""What lies on disk: CF netCDF shards with a manifest, and how radar files become shards."""
