"""The Docker engine of samebox, by docker-py and the Docker Engine API."""
