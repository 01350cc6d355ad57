#!/usr/bin/env bash
# Greets with the whole input: cronium run examples/scripts/hello.sh --input '"Ada"'
set -euo pipefail

who=$(cronium_input)
[[ -z $who || $who == null ]] && who=world
echo "Hello, $who!"
cronium_output "$who"
