"""Demo domains that need no download: procedural landscapes, others turned into oil paintings, and
others in summer and in winter.

Every pixel is the same on every machine and with every NumPy version, so that a published figure
can be reproduced and the tests can pin a hash. Therefore this package uses only operations that
IEEE 754 rounds exactly (+ - * / sqrt, comparison, floor, rint) and integer arithmetic. There is no
sin, exp or power, no sum over an axis (its order depends on the vector unit), no resampling or
drawing by Pillow, and random numbers come from a hash of a counter instead of `numpy.random`.
Scalars that meet an array are Python floats, which leave float32 arrays float32.
"""

from cyclegan_style.synthetic.folders import (
    DEMO_COUNTS,
    DEMO_PARTNERS,
    DEMO_SPECS,
    DEMO_VERSION,
    Domain,
    demo_folder,
    demo_sources,
)
from cyclegan_style.synthetic.landscape import DEMO_SIZE, render_photo
from cyclegan_style.synthetic.painting import paint

__all__ = [
    "DEMO_COUNTS",
    "DEMO_PARTNERS",
    "DEMO_SIZE",
    "DEMO_SPECS",
    "DEMO_VERSION",
    "Domain",
    "demo_folder",
    "demo_sources",
    "paint",
    "render_photo",
]
