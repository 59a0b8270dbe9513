"""Make one attempt: its name is the argument."""

from __future__ import annotations

import json
import sys

from proof.escapes.attempt import outcome

if __name__ == "__main__":
    print(json.dumps(outcome(sys.argv[1], json.loads(sys.stdin.readline()))), flush=True)
    sys.stdin.read()  # till the world outside has looked
