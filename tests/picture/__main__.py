"""Records the run, draws it, prints what it drew."""

from __future__ import annotations

import sys

from tests.bench.recording import record_up
from tests.bench.steps import steps_of
from tests.engine.site import Site
from tests.picture.drawing import draw, duration
from tests.picture.timeline import timeline_of
from tests.project import REPOSITORY

CLUSTER = "homelab"
PICTURE = REPOSITORY / "docs" / "first-light.svg"


def main() -> int:
    site = Site()
    try:
        site.start()
        site.ensure_stack(CLUSTER)
        timeline = timeline_of(steps_of(record_up(site, CLUSTER), CLUSTER), CLUSTER)
    finally:
        site.remove()
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(draw(timeline), encoding="utf-8")
    for lane in timeline.lanes:
        print(lane.title)
        for step in lane.steps:
            print(f"  {step.begin:5.1f} s  {step.title} ({duration(step.seconds)})")
    print(f"{PICTURE.relative_to(REPOSITORY)}: {timeline.summary}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
