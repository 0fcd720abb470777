"""F79 to F84: manifests, images and people."""
