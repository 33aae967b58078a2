"""Everything that a release set downloads, in one folder: for sites without internet and for installs that repeat.

Owns what is wanted, where it is fetched, the folder's form, its checks, and serving it to nodes. It knows Kubernetes'
set-up, whose words it asks for, and must never know who made the nodes.
"""
