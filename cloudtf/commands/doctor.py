"""Check the set-up and the data for a planned run, and name the bottleneck of its speed.

Takes the flags of `cloudtf train`; nothing is trained, written or downloaded. Every line begins
with ok, note (it works, but read it) or wrong. The exit status is 1 if anything is wrong.
"""

from __future__ import annotations

import os

from cloudtf.diagnosis.config import DoctorConfig
from cloudtf.errors import UserError

CONFIG = DoctorConfig


def run(config: DoctorConfig) -> None:
    """Checks and prints; raises UserError if anything is wrong."""
    from cloudtf.diagnosis.doctor import doctor

    result = doctor(config, os.environ)
    if result.wrong:
        things = "thing is" if result.wrong == 1 else "things are"
        raise UserError(f"{result.wrong} {things} wrong; see the lines that say so.")
    print(f"\nNothing is wrong; {result.notes} {'note' if result.notes == 1 else 'notes'}.")
