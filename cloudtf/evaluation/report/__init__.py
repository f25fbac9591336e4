"""The report of an evaluation: one HTML page that needs nothing else.

It has no scripts and refers to nothing outside itself, so that it can be mailed, kept and opened
anywhere; pictures are inside. A telephone and a sheet of paper show all of it, and nothing is told
by colour alone. The page stays under 5 MB.

`page` puts together the sections that it lists in their order, each a function of the `Material`.
`parts` and `style` are what they are made of; `scores`, `advice`, `pictures`, `histograms`,
`confusions`, `slices`, `cards`, `cleaning` and `background` have the sections.
"""
