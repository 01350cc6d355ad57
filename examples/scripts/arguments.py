"""Arguments and stdin: echo some text | cronium run examples/scripts/arguments.py -- --upper"""

import sys

text = sys.stdin.read().strip()
print(text.upper() if "--upper" in sys.argv[1:] else text)
print(f"{len(text.split())} words", file=sys.stderr)
