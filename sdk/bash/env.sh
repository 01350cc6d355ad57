# What every job's bash loads by BASH_ENV: the functions of cronium.sh, which is read only when one of them is called.
#
# Reading all of it costs milliseconds, and most scripts call none. Which functions there are, and what they do, is said
# there; tests hold the two files together.

# _cronium_lazily FUNCTION ARGUMENTS: in a subshell, replaces the function below by the real one and calls that.
_cronium_lazily() (
  { set +x; } 2>/dev/null
  shopt -u expand_aliases
  . "${BASH_SOURCE[0]%/*}/cronium.sh"
  "$@"
)

cronium_input() { _cronium_lazily cronium_input "$@"; }
cronium_output() { _cronium_lazily cronium_output "$@"; }
cronium_get_variable() { _cronium_lazily cronium_get_variable "$@"; }
cronium_get_variable_version() { _cronium_lazily cronium_get_variable_version "$@"; }
cronium_set_variable() { _cronium_lazily cronium_set_variable "$@"; }
cronium_increment_variable() { _cronium_lazily cronium_increment_variable "$@"; }
cronium_delete_variable() { _cronium_lazily cronium_delete_variable "$@"; }
cronium_list_variables() { _cronium_lazily cronium_list_variables "$@"; }
cronium_get_condition() { _cronium_lazily cronium_get_condition "$@"; }
cronium_set_condition() { _cronium_lazily cronium_set_condition "$@"; }
cronium_event() { _cronium_lazily cronium_event "$@"; }
cronium_event_field() { _cronium_lazily cronium_event_field "$@"; }
cronium_progress() { _cronium_lazily cronium_progress "$@"; }
cronium_log() { _cronium_lazily cronium_log "$@"; }
cronium_artifact() { _cronium_lazily cronium_artifact "$@"; }
cronium_execution_mode() { _cronium_lazily cronium_execution_mode "$@"; }
cronium_execute_tool_action() { _cronium_lazily cronium_execute_tool_action "$@"; }
cronium_send_email() { _cronium_lazily cronium_send_email "$@"; }
cronium_send_slack_message() { _cronium_lazily cronium_send_slack_message "$@"; }
cronium_send_discord_message() { _cronium_lazily cronium_send_discord_message "$@"; }

cronium_get_input() { _cronium_lazily cronium_input "$@"; }
cronium_set_output() { _cronium_lazily cronium_output "$@"; }
cronium_getVariable() { _cronium_lazily cronium_get_variable "$@"; }
cronium_setVariable() { _cronium_lazily cronium_set_variable "$@"; }
cronium_getCondition() { _cronium_lazily cronium_get_condition "$@"; }
cronium_setCondition() { _cronium_lazily cronium_set_condition "$@"; }
cronium_get_event_context() { _cronium_lazily cronium_event "$@"; }
cronium_set_progress() { _cronium_lazily cronium_progress "$@"; }
cronium_executeToolAction() { _cronium_lazily cronium_execute_tool_action "$@"; }

# Names with dots are a fatal error in POSIX mode. Under `set -x` the tests are kept out of the script's stderr.
{ if [[ ! -o posix ]]; then
  cronium.input() { _cronium_lazily cronium_input "$@"; }
  cronium.output() { _cronium_lazily cronium_output "$@"; }
  cronium.getVariable() { _cronium_lazily cronium_get_variable "$@"; }
  cronium.setVariable() { _cronium_lazily cronium_set_variable "$@"; }
  cronium.getCondition() { _cronium_lazily cronium_get_condition "$@"; }
  cronium.setCondition() { _cronium_lazily cronium_set_condition "$@"; }
  cronium.event() { _cronium_lazily cronium_event "$@"; }
  cronium.progress() { _cronium_lazily cronium_progress "$@"; }
  cronium.log() { _cronium_lazily cronium_log "$@"; }
  cronium.artifact() { _cronium_lazily cronium_artifact "$@"; }
fi
# The BASH_ENV that the caller had before Cronium took its place; a second sourcing leaves it alone.
[[ -z ${CRONIUM_OUTER_BASH_ENV:-} || -n ${_cronium_outer_is_loaded:-} ]]; } 2>/dev/null || {
  _cronium_outer_is_loaded=1
  . "$CRONIUM_OUTER_BASH_ENV" || :
}
