"""Virtual machines on libvirt: images, networks, disks, machines, and GPUs passed through to them.

Owns the provider ``libvirt``. Only this package imports libvirt. Everything that it makes carries its mark and nothing
without that mark is ever changed. Must never import another provider.
"""
