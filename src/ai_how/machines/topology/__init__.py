"""The picture of a site: hosts, machines, networks, GPUs, and what contradicts itself. Pure."""
