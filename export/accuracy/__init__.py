"""How well a bundle finds what a labelled data set holds, beside the torch model that it came from.

The way of a measurement: labels become a COCO ground truth (`truth`), the runtime and torch look at the same pictures
(`through_bundle`, `through_torch`), pycocotools matches both with the truth (`judge`), and the matches are counted again
for every redrawn set of pictures (`precision`, `bootstrap`). `measure` puts it together, `report` is what comes out.
"""
