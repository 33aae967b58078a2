"""libvirt's XML from our types, and back. Pure; libvirt itself validates it against its schemas when it is defined."""
