# What every job's bash loads by BASH_ENV: the functions of cronium.sh, which is read only when one of them is called.
#
# Reading all of it costs a millisecond and more, and most scripts call none. Which functions there are, and what they
# do, is said there; tests hold the two files together.

# _cronium_lazily FUNCTION ARGUMENTS: in the subshell of a function below, replaces it by the real one and calls that.
_cronium_lazily() {
  shopt -u expand_aliases
  . "${BASH_SOURCE[0]%/*}/cronium.sh"
  "$@"
}

cronium_input() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_input "$@" )
cronium_output() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_output "$@" )
cronium_get_variable() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_get_variable "$@" )
cronium_set_variable() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_set_variable "$@" )
cronium_get_condition() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_get_condition "$@" )
cronium_set_condition() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_set_condition "$@" )
cronium_event() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_event "$@" )
cronium_event_field() ( { set +x; } 2>/dev/null; _cronium_lazily cronium_event_field "$@" )

cronium_get_input() { cronium_input "$@"; }
cronium_set_output() { cronium_output "$@"; }
cronium_getVariable() { cronium_get_variable "$@"; }
cronium_setVariable() { cronium_set_variable "$@"; }
cronium_getCondition() { cronium_get_condition "$@"; }
cronium_setCondition() { cronium_set_condition "$@"; }
cronium_get_event_context() { cronium_event "$@"; }

# Names with dots are a fatal error in POSIX mode. Under `set -x` the test itself is kept out of the script's stderr.
{ if [[ ! -o posix ]]; then
  cronium.input() { cronium_input "$@"; }
  cronium.output() { cronium_output "$@"; }
  cronium.getVariable() { cronium_get_variable "$@"; }
  cronium.setVariable() { cronium_set_variable "$@"; }
  cronium.getCondition() { cronium_get_condition "$@"; }
  cronium.setCondition() { cronium_set_condition "$@"; }
  cronium.event() { cronium_event "$@"; }
fi; } 2>/dev/null

# The BASH_ENV that the caller had before Cronium took its place; a second sourcing leaves it alone.
{ [[ -z ${CRONIUM_OUTER_BASH_ENV:-} || -n ${_cronium_outer_is_loaded:-} ]]; } 2>/dev/null || {
  _cronium_outer_is_loaded=1
  . "$CRONIUM_OUTER_BASH_ENV" || :
}
