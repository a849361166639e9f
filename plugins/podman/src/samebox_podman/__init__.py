"""The Podman engine of samebox, rootless and rootful, by podman-py and Podman's own API."""
