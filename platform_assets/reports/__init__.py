"""Reports: what a system's `reports.yaml` declares, filled from gold marts, as HTML with charts, CSV or JSON.

Belongs here: the declarations, the queries over marts, the rendering. Does not belong here: where a mart's rows come from (a
`Marts` is handed in: the lake, or the index with a reader's own rights), when a report is made and whom it is sent to.
"""
