"""The systems on the platform, one folder each: `contract.yaml`, and only the code that this system alone needs.

Belongs here: what makes a system different from the others. Does not belong here: anything that two systems share.
"""
