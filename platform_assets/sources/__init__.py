"""Where records come from: one package for each kind of source, all behind `base.Source`.

Belongs here: reading and naming what a source holds, sending to it, files on their way into one. Does not belong here: the lake,
what a record means, the index.
"""
