"""GPUs given to machines: which card, who has it, the host's driver taken off and put back.

``sysfs``, ``binding`` and ``facts`` need nothing but the standard library. A card belongs to one running machine; what
libvirt says about its machines is the only record of that.
"""
