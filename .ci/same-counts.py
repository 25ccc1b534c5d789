"""Do the counts that `dev --once --json` prints equal those of the plain script?

usage: same-counts.py FILE     FILE: what `dev --once --json` printed for examples/earthquakes
"""

import json
import subprocess
import sys
from pathlib import Path

script = Path(__file__).parent.parent / "examples/earthquakes/count.py"
expected = json.loads(subprocess.check_output([sys.executable, str(script), "--json"]))
summary = json.loads(Path(sys.argv[1]).read_text().splitlines()[-1])
found = summary["topics"]
if found != expected:
    sys.exit(f"Millstream counts {found}, the plain script {expected}")
print(f"the same counts: {found}")
