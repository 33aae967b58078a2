"""The provider ``inventory``: servers that exist already, reached over SSH.

Owns how they are reached and trusted, what is checked on them, and the record that is left on those that are nodes.
Never switches a server off, never installs its system anew; Kubernetes on it is ``kubernetes``'.
"""
