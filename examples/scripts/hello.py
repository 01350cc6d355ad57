"""Greets who is named in the input: cronium run examples/scripts/hello.py --input who=Ada"""

import cronium

given = cronium.input() or {}
print(f"Hello, {given.get('who', 'world')}!")
cronium.output({"greeted": given.get("who", "world")})
