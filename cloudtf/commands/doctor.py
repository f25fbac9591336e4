"""Check the set-up and the data for a planned run, and name what binds its speed.

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

    found = doctor(config, os.environ)
    if found.wrong:
        things = "thing is" if found.wrong == 1 else "things are"
        raise UserError(f"{found.wrong} {things} wrong; see the lines that say so.")
    print(f"\nNothing is wrong; {found.notes} {'note' if found.notes == 1 else 'notes'}.")
