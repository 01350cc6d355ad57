# Cronium for Bash scripts: input, output, variables, the condition, the context, progress, log entries, artifacts.
#
#     rows=$(cronium_input)
#     cronium_set_variable last_count "$rows"
#     cronium_output '{"count": 3}'
#
# Every job's bash loads this file by BASH_ENV; it can be sourced by hand too, also twice. It needs bash 3.2 or later and
# the first of curl, python3, node and perl that works. Loading it does nothing but define functions. What fewer scripts
# call lies beside it, in more.sh. Outside of a job it works on a local file, by the SDK for Python.
#
# A value is sent as JSON where it is JSON, else as text. A function returns 0; 1 when the runtime API refused; 2 when it
# was called wrongly; 3 when the runtime API cannot be reached. Messages go to stderr.
#
# --scope=event or --scope=global says whose variable; reading without it looks at the event's first, writing means the
# global one. --if-version=N writes only if the variable has version N (0: only if there is none). -- ends the options.
#
# Each function body is a subshell, so that options, traps and variables of the script neither disturb it nor are changed.

# Prints the job's input; nothing when it has none.
cronium_input() (
  _cronium_enter 'cronium_input' 0 0 "$@" || exit
  _cronium_call GET input && _cronium_print "$_cronium_body"
)

# cronium_output [VALUE]: keeps the job's output; without VALUE it is read from stdin, less the newlines at its end.
cronium_output() (
  _cronium_enter 'cronium_output [VALUE]' 0 1 "$@" || exit
  _cronium_take_value "$@" && _cronium_call POST output
)

# cronium_get_variable KEY: prints the variable's value; nothing when there is no such variable.
cronium_get_variable() (
  _cronium_enter 'cronium_get_variable [--scope=event|global] KEY' 1 1 "$@" || exit
  shift "$_cronium_options"
  _cronium_take_key "$1" && _cronium_call GET "$_cronium_variable" && _cronium_print "$_cronium_body"
)

# cronium_get_variable_version KEY: prints its version, 0 when there is no such variable. Ask for it before the value.
cronium_get_variable_version() (
  _cronium_enter 'cronium_get_variable_version [--scope=event|global] KEY' 1 1 "$@" || exit
  shift "$_cronium_options"
  _cronium_take_key "$1" && _cronium_call GET "$_cronium_variable" && _cronium_print "${_cronium_etag:-0}"
)

# cronium_set_variable KEY [VALUE]: writes the variable; VALUE as for cronium_output.
cronium_set_variable() (
  _cronium_enter 'cronium_set_variable [--scope=event|global] [--if-version=N] KEY [VALUE]' 1 2 "$@" || exit
  shift "$_cronium_options"
  _cronium_take_key "$1" || exit
  shift
  _cronium_take_value "$@" && _cronium_call PUT "$_cronium_variable"
)

# cronium_increment_variable KEY [NUMBER]: adds to a number, which starts at 0, and prints the sum. No addition is lost.
cronium_increment_variable() (
  _cronium_enter 'cronium_increment_variable [--scope=event|global] KEY [NUMBER]' 1 2 "$@" || exit
  shift "$_cronium_options"
  _cronium_take_key "$1" || exit
  _cronium_sent=${2-1}
  _cronium_variable=variables/$_cronium_encoded/increment${_cronium_scope:+?scope=$_cronium_scope}
  _cronium_call POST "$_cronium_variable" && _cronium_print "$_cronium_body"
)

# cronium_delete_variable KEY: removes the variable; that there was none is no error.
cronium_delete_variable() (
  _cronium_enter 'cronium_delete_variable [--scope=event|global] [--if-version=N] KEY' 1 1 "$@" || exit
  shift "$_cronium_options"
  _cronium_take_key "$1" && _cronium_call DELETE "$_cronium_variable"
)

# cronium_list_variables [PREFIX]: prints the keys that begin with it, one in each line.
cronium_list_variables() (
  _cronium_enter 'cronium_list_variables [--scope=event|global] [PREFIX]' 0 1 "$@" || exit
  shift "$_cronium_options"
  _cronium_encode "${1-}"
  _cronium_query="?limit=200&prefix=$_cronium_encoded&scope=${_cronium_scope:-global}"
  _cronium_cursor=''
  while _cronium_call GET "variables$_cronium_query$_cronium_cursor" || exit; [[ -n $_cronium_body ]]; do
    printf '%s' "$_cronium_body"
    _cronium_body=${_cronium_body%$'\n'}
    _cronium_encode "${_cronium_body##*$'\n'}"
    _cronium_cursor="&cursor=$_cronium_encoded"
  done
)

# Prints true or false; nothing when no condition was set.
cronium_get_condition() (
  _cronium_enter 'cronium_get_condition' 0 0 "$@" || exit
  _cronium_call GET condition && _cronium_print "$_cronium_body"
)

# cronium_set_condition true|1|yes|on|false|0|no|off
cronium_set_condition() (
  _cronium_enter 'cronium_set_condition true|false' 1 1 "$@" || exit
  _cronium_take_value "$1" && _cronium_call POST condition
)

# Prints what runs this - the job, its attempt, event, run, step, trigger and times - as a JSON object.
cronium_event() (
  _cronium_enter 'cronium_event' 0 0 "$@" || exit
  _cronium_call GET context && _cronium_print "$_cronium_body"
)

# cronium_event_field NAME: prints one field of that object; nothing when it is null or not there.
cronium_event_field() (
  _cronium_enter 'cronium_event_field NAME' 1 1 "$@" || exit
  _cronium_call GET context || exit
  _cronium_field "$_cronium_body" "$1" || exit 0
  _cronium_print "$_cronium_value"
)

# cronium_progress PERCENT [MESSAGE], cronium_progress MESSAGE|JSON: shows how far the script is.
cronium_progress() (
  _cronium_enter 'cronium_progress PERCENT [MESSAGE]' 1 2 "$@" || exit
  _cronium_sent=$1
  if (($# == 2)); then
    _cronium_quote "$2"
    _cronium_sent="{\"percent\":$1,\"message\":$_cronium_quoted}" _cronium_type=application/json
    [[ $1 =~ ^-?[0-9]+(\.[0-9]+)?$ ]] || {
      _cronium_say "a message is sent beside a percentage, not beside '$1'"
      exit 2
    }
  fi
  _cronium_call POST progress
)

# cronium_log MESSAGE [LEVEL [JSON]]: adds an entry to the job's log; LEVEL is debug, info, warning or error.
cronium_log() (
  _cronium_enter 'cronium_log MESSAGE [debug|info|warning|error [JSON]]' 1 3 "$@" || exit
  case ${2-info} in
    debug | info | warning | error) ;;
    *)
      _cronium_say "the level '$2' is none of debug, info, warning, error"
      exit 2
      ;;
  esac
  _cronium_quote "$1"
  _cronium_sent="{\"level\":\"${2-info}\",\"message\":$_cronium_quoted" _cronium_type=application/json
  [[ -z ${3-} ]] || _cronium_sent+=",\"data\":$3"
  _cronium_sent+='}'
  _cronium_call POST log || exit
  case ${_cronium_stub:+${2-info}} in # outside of a job the entry goes where a job's log would have it
    debug | info) _cronium_print "${_cronium_body%$'\n'}" ;;
    ?*) _cronium_print "${_cronium_body%$'\n'}" >&2 ;;
  esac
)

# Prints where this runs: container, ssh or process; local outside of a job.
cronium_execution_mode() (
  _cronium_enter 'cronium_execution_mode' 0 0 "$@" || exit
  _cronium_find_base
  if [[ -z ${CRONIUM_EXECUTION_MODE:-} && -n ${CRONIUM_HELPER_MODE:-} ]]; then
    CRONIUM_EXECUTION_MODE=ssh
  fi
  _cronium_base=${_cronium_base:+process}
  _cronium_print "${CRONIUM_EXECUTION_MODE:-${_cronium_base:-local}}"
)

# What follows lies in more.sh, which is read when it is called.
cronium_artifact() ( _cronium_read_more && cronium_artifact "$@" )
cronium_execute_tool_action() ( _cronium_read_more && cronium_execute_tool_action "$@" )
cronium_send_email() ( _cronium_read_more && cronium_send_email "$@" )
cronium_send_slack_message() ( _cronium_read_more && cronium_send_slack_message "$@" )
cronium_send_discord_message() ( _cronium_read_more && cronium_send_discord_message "$@" )

_cronium_read_more() {
  { set +x; } 2>/dev/null
  shopt -u expand_aliases
  _cronium_home=${BASH_SOURCE[0]%/*}
  [[ ${BASH_SOURCE[0]} == */* ]] || _cronium_home=.
  [[ -r $_cronium_home/more.sh ]] && . "$_cronium_home/more.sh" && return
  printf 'cronium: %s/more.sh is missing; copy it too: it belongs to cronium.sh\n' "$_cronium_home" >&2
  return 3
}

cronium_get_input() { cronium_input "$@"; }
cronium_set_output() { cronium_output "$@"; }
cronium_getVariable() { cronium_get_variable "$@"; }
cronium_setVariable() { cronium_set_variable "$@"; }
cronium_getCondition() { cronium_get_condition "$@"; }
cronium_setCondition() { cronium_set_condition "$@"; }
cronium_get_event_context() { cronium_event "$@"; }
cronium_set_progress() { cronium_progress "$@"; }
cronium_executeToolAction() { cronium_execute_tool_action "$@"; }

# Names with dots are a fatal error in POSIX mode. Under `set -x` the test itself is kept out of the script's stderr.
{ if [[ ! -o posix ]]; then
  cronium.input() { cronium_input "$@"; }
  cronium.output() { cronium_output "$@"; }
  cronium.getVariable() { cronium_get_variable "$@"; }
  cronium.setVariable() { cronium_set_variable "$@"; }
  cronium.getCondition() { cronium_get_condition "$@"; }
  cronium.setCondition() { cronium_set_condition "$@"; }
  cronium.event() { cronium_event "$@"; }
  cronium.progress() { cronium_progress "$@"; }
  cronium.log() { cronium_log "$@"; }
  cronium.artifact() { cronium_artifact "$@"; }
fi; } 2>/dev/null

# _cronium_enter USAGE LEAST MOST ARGUMENT...: makes the subshell independent of the script's settings and checks the call.
# Sets _cronium_options: how many of the arguments are options, where USAGE has some in front.
_cronium_enter() {
  { set +x; } 2>/dev/null # first of all: a trace would write the token to the log
  set +aeuvkCET -f
  set +o pipefail +o posix
  shopt -u nocasematch
  trap - DEBUG ERR RETURN EXIT
  # IFS stays as it is, even if it is read-only: nothing below leaves an expansion to be split.
  LC_ALL=C # lengths and characters are bytes from here on
  _cronium_usage=$1 _cronium_least=$2 _cronium_most=$3
  shift 3
  _cronium_name=${_cronium_usage%% *}
  _cronium_options=0 _cronium_scope='' _cronium_version='' _cronium_type='text/plain; charset=utf-8'
  [[ $_cronium_usage != *\ \[--scope=* ]] || _cronium_take_options "$@" || return
  (($# - _cronium_options >= _cronium_least && $# - _cronium_options <= _cronium_most)) && return
  _cronium_say "usage: $_cronium_usage (called with $# arguments; quote a value that has spaces)"
  return 2
}

_cronium_take_options() {
  while :; do
    case ${1-} in
      --scope=event | --scope=global) _cronium_scope=${1#*=} ;;
      --if-version=[0-9]*) _cronium_version=${1#*=} ;;
      --) ((_cronium_options += 1)) && return ;;
      --scope=* | --if-version=*)
        _cronium_say "usage: $_cronium_usage (a key that looks like an option comes after --)"
        return 2
        ;;
      *) return 0 ;;
    esac
    ((_cronium_options += 1))
    shift
  done
}

_cronium_say() { printf 'cronium: %s: %s\n' "$_cronium_name" "$1" >&2; }

_cronium_print() { [[ -z $1 ]] || printf '%s\n' "$1"; }

# Sets _cronium_sent. Values come by stdin or as arguments of these functions, which no other process can see.
_cronium_take_value() {
  if (($#)); then
    _cronium_sent=$1
  elif [[ -t 0 ]]; then
    _cronium_say 'give a value, or send one to stdin'
    return 2
  else
    _cronium_sent=$(command cat)
  fi
}

# _cronium_take_key KEY: sets _cronium_variable, where the variable is.
_cronium_take_key() {
  _cronium_encode "$1"
  _cronium_variable=variables/$_cronium_encoded${_cronium_scope:+?scope=$_cronium_scope}
  [[ -z $1 ]] || return 0
  _cronium_say 'the KEY of a variable is at least one character long'
  return 2
}

# Sets _cronium_encoded: the text, percent-encoded byte by byte; dots too, since they could be taken for a way up.
_cronium_encode() {
  _cronium_encoded=
  local _cronium_at _cronium_char _cronium_code
  for ((_cronium_at = 0; _cronium_at < ${#1}; _cronium_at++)); do
    _cronium_char=${1:_cronium_at:1}
    case $_cronium_char in
      [A-Za-z0-9_~-]) ;;
      *)
        printf -v _cronium_code '%d' "'$_cronium_char"
        printf -v _cronium_char '%%%02X' "$((_cronium_code & 255))"
        ;;
    esac
    _cronium_encoded+=$_cronium_char
  done
}

# _cronium_quote TEXT: sets _cronium_quoted, the text as JSON.
_cronium_quote() {
  local _cronium_control _cronium_code _cronium_escape
  _cronium_quoted=${1//\\/\\\\}
  _cronium_quoted=${_cronium_quoted//\"/\\\"}
  if [[ $_cronium_quoted == *[[:cntrl:]]* ]]; then
    for ((_cronium_code = 1; _cronium_code < 32; _cronium_code++)); do
      printf -v _cronium_escape '\\%03o' "$_cronium_code"
      # shellcheck disable=SC2059 # the octal number is the format
      printf -v _cronium_control "$_cronium_escape"
      printf -v _cronium_escape '\\u%04x' "$_cronium_code"
      _cronium_quoted=${_cronium_quoted//"$_cronium_control"/$_cronium_escape}
    done
  fi
  _cronium_quoted=\"$_cronium_quoted\"
}

# Sets _cronium_operation: a name by which the server knows a write that is repeated.
_cronium_name_operation() {
  _cronium_operation=''
  { read -r _cronium_operation </proc/sys/kernel/random/uuid; } 2>/dev/null
  [[ $_cronium_operation == *[!0-9a-f-]* || ${#_cronium_operation} -lt 30 ]] || return 0
  printf -v _cronium_operation '%s' "$$-${BASHPID:-x}-$SECONDS-$RANDOM-$RANDOM-$RANDOM-$RANDOM"
}

# _cronium_call METHOD NAME: sends _cronium_sent by POST and PUT, sets _cronium_body and _cronium_etag, tries again until the
# deadline. A NAME that begins with a slash is no part of the execution.
_cronium_call() {
  _cronium_method=$1 _cronium_operation=''
  [[ $1 == GET ]] || _cronium_name_operation
  _cronium_configure "$2" || return
  local _cronium_tries=0 _cronium_pause _cronium_waited=0
  SECONDS=0
  while :; do
    _cronium_exchange || return
    [[ $_cronium_status == 2?? ]] && return
    case $_cronium_status in
      000 | 429 | 502 | 503 | 504) ;;
      *) break ;;
    esac
    _cronium_pause=$((50 << (_cronium_tries < 5 ? _cronium_tries : 5)))
    ((_cronium_pause -= RANDOM % (_cronium_pause / 2), _cronium_tries += 1))
    [[ -z $_cronium_wish ]] || _cronium_pause=$((10#$_cronium_wish * 1000))
    # SECONDS counts the time of the requests too, but in whole seconds, and not at all once a script has unset it.
    ((_cronium_waited = SECONDS * 1000 > _cronium_waited ? SECONDS * 1000 : _cronium_waited, 1))
    ((_cronium_waited += _cronium_pause, _cronium_waited < _cronium_deadline * 1000)) || break
    _cronium_sleep "$_cronium_pause" || break
  done
  _cronium_fail
}

# What a call that had no success comes to.
_cronium_fail() {
  if [[ $_cronium_status == 000 ]]; then
    _cronium_unavailable "the runtime API at $_cronium_base does not answer ($_cronium_why)"
    return
  fi
  _cronium_field "$_cronium_body" code && _cronium_code=$_cronium_value || _cronium_code=http_error
  [[ $_cronium_method == [GD]* && $_cronium_code == variable_not_found ]] && { _cronium_body= && return; }
  _cronium_field "$_cronium_body" detail || _cronium_value="the runtime API answered ${_cronium_body:0:200}"
  case $_cronium_code in
    route_not_found | method_not_allowed)
      _cronium_code=not_supported
      _cronium_value="This is not supported by this server; update it. $_cronium_value"
      ;;
  esac
  _cronium_say "$_cronium_value ($_cronium_status $_cronium_code)"
  return 1
}

_cronium_unavailable() {
  _cronium_say "runtime_unavailable: $1"
  return 3
}

# _cronium_sleep MILLISECONDS: where sleep takes no fractions, a whole second.
_cronium_sleep() {
  local _cronium_seconds
  printf -v _cronium_seconds '%d.%03d' "$(($1 / 1000))" "$(($1 % 1000))"
  command sleep "$_cronium_seconds" 2>/dev/null || command sleep "$((($1 + 999) / 1000))" 2>/dev/null
}

# Finds out where the runtime API is, as the older names of the environment say it too.
_cronium_find_base() {
  _cronium_base=${CRONIUM_RUNTIME_API:-${CRONIUM_API_ENDPOINT:-${CRONIUM_API_URL:-}}}
  _cronium_token=${CRONIUM_EXECUTION_TOKEN:-${CRONIUM_API_TOKEN:-}}
  _cronium_token=${_cronium_token//[[:space:]]/}
}

# Sets _cronium_stub. A job that lost its way to the runtime API must not write to a file that nobody reads.
_cronium_find_stub() {
  _cronium_stub=${CRONIUM_STUB_FILE:-}
  [[ -z $_cronium_base ]] || return
  [[ -z $_cronium_stub && -z $_cronium_token${CRONIUM_EXECUTION_ID:-}${CRONIUM_JOB_ID:-} ]] && _cronium_stub=.cronium.json
  [[ -n $_cronium_stub ]]
}

_cronium_configure() {
  _cronium_find_base
  _cronium_deadline=${CRONIUM_SDK_DEADLINE_SECONDS:-60}
  if _cronium_find_stub; then
    _cronium_path=$1 _cronium_deadline=60
    return
  fi
  _cronium_stub=''
  if [[ -z $_cronium_base ]]; then
    _cronium_unavailable 'CRONIUM_RUNTIME_API is not set; start the script with: cronium run FILE'
  elif [[ -z $_cronium_token ]]; then
    _cronium_unavailable 'there is a runtime API but no token; set CRONIUM_EXECUTION_TOKEN'
  elif ! [[ $_cronium_deadline =~ ^([0-9]+)(\.[0-9]*)?$ ]]; then
    _cronium_unavailable "CRONIUM_SDK_DEADLINE_SECONDS is '$_cronium_deadline'; give a number of seconds"
  else
    _cronium_deadline=$((10#${BASH_REMATCH[1]} ? 10#${BASH_REMATCH[1]} : 1))
    _cronium_encode "${CRONIUM_EXECUTION_ID:-${CRONIUM_JOB_ID:-current}}"
    [[ $1 == /* ]] && _cronium_locate "${1#/}" || _cronium_locate "executions/$_cronium_encoded/$1"
  fi
}

# _cronium_locate PATH: sets where to connect (_cronium_socket, or _cronium_host and _cronium_port) and _cronium_path.
_cronium_locate() {
  local _cronium_address=${_cronium_base%/}
  _cronium_socket='' _cronium_host='' _cronium_port=''
  if [[ $_cronium_address == unix:* ]]; then
    _cronium_socket=${_cronium_address#unix:}
    _cronium_socket=${_cronium_socket#//}
    _cronium_origin=http://localhost
    _cronium_path=/$1
    return
  fi
  local _cronium_pattern='^(https?)://(\[([^]]+)]|([^][/:@?#]+))(:([0-9]+))?(/[^?#]*)?$'
  if ! [[ $_cronium_address =~ $_cronium_pattern ]]; then
    _cronium_unavailable "the runtime API address '$_cronium_base' is neither unix:/path nor http://host:port"
    return
  fi
  _cronium_host=${BASH_REMATCH[3]}${BASH_REMATCH[4]}
  _cronium_port=${BASH_REMATCH[6]:-80}
  _cronium_path=${BASH_REMATCH[7]}/$1
  _cronium_origin=${_cronium_address:0:${#_cronium_address} - ${#BASH_REMATCH[7]}}
}

# One request by the first program that works. Sets _cronium_status (000: none, then _cronium_why), _cronium_body and
# _cronium_wish (Retry-After). What a program answers with is curl's exit code; any other code means it is no use here.
_cronium_exchange() {
  local _cronium_tool _cronium_program _cronium_found='' _cronium_answer
  _cronium_status=000 _cronium_wish='' _cronium_body='' _cronium_etag=''
  if [[ -n $_cronium_stub ]]; then
    _cronium_read_more && _cronium_use_stub
    return
  fi
  _cronium_left=$((_cronium_deadline > SECONDS ? _cronium_deadline - SECONDS : 1))
  for _cronium_tool in curl python3 node perl; do
    [[ $_cronium_base != https:* || $_cronium_tool == curl ]] || continue
    _cronium_program=$(type -P "$_cronium_tool") || continue
    _cronium_answer=$( # the x keeps newlines at the end
      "_cronium_by_$_cronium_tool" 2>/dev/null
      _cronium_why=$?
      printf x
      exit "$_cronium_why"
    )
    _cronium_why=$?
    case $_cronium_why in
      0)
        _cronium_read_answer "${_cronium_answer%x}"
        return
        ;;
      6 | 7 | 18 | 52 | 55 | 56)
        _cronium_why="$_cronium_tool found nobody there or lost the connection"
        return 0
        ;;
      28)
        _cronium_unavailable "the runtime API at $_cronium_base did not answer within $_cronium_deadline s"
        return
        ;;
    esac
    _cronium_found+=" $_cronium_program failed with exit code $_cronium_why;"
  done
  _cronium_unavailable "one of curl, python3, node and perl must be on PATH and work;${_cronium_found:- none is there}"
}

# _cronium_read_answer TEXT: takes an HTTP answer apart, interim ones (1xx) left out.
_cronium_read_answer() {
  local _cronium_head _cronium_rest=$1
  local _cronium_wish_pattern=$'\n''[Rr][Ee][Tt][Rr][Yy]-[Aa][Ff][Tt][Ee][Rr]:[[:space:]]*([0-9]{1,6})[[:space:]]'
  local _cronium_tag_pattern=$'\n''[Ee][Tt][Aa][Gg]:[[:space:]]*"([0-9]+)"'
  while :; do
    _cronium_head=${_cronium_rest%%$'\r\n\r\n'*}
    [[ $_cronium_head =~ ^HTTP/[0-9.]+\ ([0-9]{3}) ]] || break
    _cronium_status=${BASH_REMATCH[1]}
    _cronium_rest=${_cronium_rest:${#_cronium_head}+4}
    [[ $_cronium_status == 1?? ]] || break
  done
  [[ $_cronium_head$'\n' =~ $_cronium_wish_pattern ]] && _cronium_wish=${BASH_REMATCH[1]}
  [[ $_cronium_head =~ $_cronium_tag_pattern ]] && _cronium_etag=${BASH_REMATCH[1]}
  _cronium_body=$_cronium_rest
  # A value comes as text/plain and a refusal as a problem document; a page of some other server is neither.
  [[ $_cronium_status != [023]?? || $_cronium_head == *[Tt]ype:\ text/plain* ]] && return
  _cronium_unavailable "what answers at $_cronium_base is not a runtime API: ${_cronium_body:0:200}"
}

# The token reaches curl as a line of configuration in one pipe, the body comes in another; argv holds neither.
_cronium_by_curl() {
  _cronium_curl_config | {
    if [[ $_cronium_method == [GD]* ]]; then
      "$_cronium_program" -q -K /dev/fd/3 </dev/null
    else
      printf '%s' "$_cronium_sent" | "$_cronium_program" -q -K /dev/fd/3 --data-binary @-
    fi
  } 3<&0
}

_cronium_curl_config() {
  _cronium_curl_line url "$_cronium_origin$_cronium_path"
  [[ -z $_cronium_socket ]] || _cronium_curl_line unix-socket "$_cronium_socket"
  _cronium_curl_line request "$_cronium_method"
  _cronium_each_header _cronium_curl_header
  _cronium_curl_header 'Expect:'
  _cronium_curl_line noproxy '*'
  _cronium_curl_line max-time "$_cronium_left"
  printf '%s\n' silent include path-as-is
}

_cronium_curl_header() { _cronium_curl_line header "$1"; }

_cronium_curl_line() {
  local _cronium_text=${2//\\/\\\\}
  printf '%s = "%s"\n' "$1" "${_cronium_text//\"/\\\"}"
}

# The other programs are given the request ready made and only carry it: SECONDS, then a socket's path or HOST PORT.
_cronium_request() {
  printf '%s %s HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n' "$_cronium_method" "$_cronium_path"
  _cronium_each_header _cronium_plain_header
  [[ $_cronium_method == [GD]* ]] && printf '\r\n' && return
  printf 'Content-Length: %d\r\n\r\n%s' "${#_cronium_sent}" "$_cronium_sent"
}

_cronium_plain_header() { printf '%s\r\n' "$1"; }

# _cronium_each_header FUNCTION: calls it with each header of the request.
_cronium_each_header() {
  "$1" "Authorization: Bearer $_cronium_token"
  "$1" 'Accept: text/plain'
  [[ -z $_cronium_operation ]] || "$1" "Idempotency-Key: $_cronium_operation"
  [[ $_cronium_method == [GD]* ]] || "$1" "Content-Type: $_cronium_type"
  case $_cronium_version in
    '') ;;
    0) "$1" 'If-None-Match: *' ;;
    *) "$1" "If-Match: \"$_cronium_version\"" ;;
  esac
}

_cronium_by_python3() {
  _cronium_request | "$_cronium_program" -I -S -c '
import os, re, signal, socket, sys
signal.signal(signal.SIGALRM, lambda *_: os._exit(28))
signal.alarm(int(sys.argv[1]))
try:
    if len(sys.argv) > 3:
        plug = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    else:
        plug = socket.socket(socket.AF_UNIX)
        plug.connect(sys.argv[2])
except OSError:
    sys.exit(7)
parts = []
try:
    plug.sendall(sys.stdin.buffer.read())
except OSError:
    pass  # refused before all of it was read: the answer may be here
try:
    for part in iter(lambda: plug.recv(65536), b""):
        parts.append(part)
except OSError:
    pass  # whether the answer is whole is seen below
answer = b"".join(parts)
head, end, body = answer.partition(b"\r\n\r\n")
length = re.search(rb"(?i)\r\nContent-Length: *(\d+)", head)
if not end or length and len(body) < int(length.group(1)):
    sys.exit(56)
sys.stdout.buffer.write(answer)
' "$_cronium_left" "${_cronium_socket:-$_cronium_host}" ${_cronium_port:+"$_cronium_port"}
}

_cronium_by_node() {
  _cronium_request | NODE_OPTIONS='' "$_cronium_program" -e '
const [seconds, host, port] = process.argv.slice(1);
setTimeout(() => process.exit(28), seconds * 1000);
const plug = require("net").connect(port ? { host, port: Number(port) } : { path: host });
const parts = [];
let connected = false;
plug.on("connect", () => {
  connected = true;
  plug.write(require("fs").readFileSync(0));
});
plug.on("data", (part) => parts.push(part));
plug.on("error", () => {}); // close follows
plug.on("close", () => {
  if (!connected) process.exit(7);
  const answer = Buffer.concat(parts);
  const end = answer.indexOf("\r\n\r\n");
  const length = /\r\nContent-Length: *(\d+)/i.exec(answer.toString("latin1", 0, Math.max(end, 0)));
  if (end < 0 || (length && answer.length - end - 4 < Number(length[1]))) process.exit(56);
  process.stdout.write(answer, () => process.exit(0));
});
' -- "$_cronium_left" "${_cronium_socket:-$_cronium_host}" ${_cronium_port:+"$_cronium_port"}
}

_cronium_by_perl() {
  _cronium_request | PERL5OPT='' PERL_UNICODE=0 "$_cronium_program" -e '
use strict;
use Socket qw(:DEFAULT getaddrinfo);
my ($seconds, $host, $port) = @ARGV;
my ($plug, $connected);
$SIG{ALRM} = sub { exit 28 };
$SIG{PIPE} = "IGNORE";
alarm $seconds;
if (defined $port) {
    my (undef, @found) = getaddrinfo($host, $port, { socktype => SOCK_STREAM });
    for my $way (@found) {
        $connected = socket($plug, $way->{family}, SOCK_STREAM, 0) && connect($plug, $way->{addr}) and last;
    }
} else {
    $connected = socket($plug, AF_UNIX, SOCK_STREAM, 0) && connect($plug, sockaddr_un($host));
}
exit 7 unless $connected;
binmode $_ for *STDIN, *STDOUT, $plug;
my $request = do { local $/; <STDIN> };
my ($sent, $answer) = (0, "");
while ($sent < length $request) {
    $sent += syswrite($plug, $request, length($request) - $sent, $sent) || last;
}
1 while sysread($plug, $answer, 65536, length $answer);
my $end = index $answer, "\r\n\r\n";
exit 56 if $end < 0;
exit 56 if substr($answer, 0, $end) =~ /\r\nContent-Length: *(\d+)/i && length($answer) - $end - 4 < $1;
print $answer;
' "$_cronium_left" "${_cronium_socket:-$_cronium_host}" ${_cronium_port:+"$_cronium_port"}
}

# _cronium_field JSON NAME: sets _cronium_value to a field of the object: text decoded, null as nothing, all else as it
# stands there. Returns 1 when there is no such field. For the small objects that the runtime API itself writes.
_cronium_field() {
  local _cronium_rest=$1 _cronium_field_name
  local _cronium_key_pattern='^[[:space:]]*[{,][[:space:]]*"([^"\]*(\\.[^"\]*)*)"[[:space:]]*:[[:space:]]*'
  while [[ $_cronium_rest =~ $_cronium_key_pattern ]]; do
    _cronium_rest=${_cronium_rest:${#BASH_REMATCH[0]}}
    _cronium_unescape "${BASH_REMATCH[1]}"
    _cronium_field_name=$_cronium_value
    _cronium_next_value || return
    if [[ $_cronium_field_name == "$2" ]]; then
      case $_cronium_value in
        null) _cronium_value= ;;
        '"'*) _cronium_unescape "${_cronium_value:1:${#_cronium_value}-2}" ;;
      esac
      return 0
    fi
  done
  return 1
}

# Moves one JSON value from the front of _cronium_rest to _cronium_value.
_cronium_next_value() {
  local _cronium_depth=0 _cronium_token_pattern='^("[^"\]*(\\.[^"\]*)*"|[][{}]|[^][{}",]+|,)'
  _cronium_value=
  while [[ $_cronium_rest =~ $_cronium_token_pattern ]]; do
    case ${BASH_REMATCH[0]} in
      '{' | '[') ((_cronium_depth += 1)) ;;
      '}' | ']') ((_cronium_depth == 0)) && break || ((_cronium_depth -= 1)) ;;
      ',') ((_cronium_depth == 0)) && break ;;
    esac
    _cronium_value+=${BASH_REMATCH[0]}
    _cronium_rest=${_cronium_rest:${#BASH_REMATCH[0]}}
  done
  _cronium_value=${_cronium_value%"${_cronium_value##*[![:space:]]}"}
  [[ -n $_cronium_value ]]
}

# _cronium_unescape TEXT: sets _cronium_value to what the inside of a JSON string stands for.
_cronium_unescape() {
  local _cronium_raw=$1 _cronium_point _cronium_low
  _cronium_value=
  while [[ $_cronium_raw == *\\* ]]; do
    _cronium_value+=${_cronium_raw%%\\*}
    _cronium_raw=${_cronium_raw#*\\}
    case $_cronium_raw in
      b*) _cronium_value+=$'\b' ;;
      f*) _cronium_value+=$'\f' ;;
      n*) _cronium_value+=$'\n' ;;
      r*) _cronium_value+=$'\r' ;;
      t*) _cronium_value+=$'\t' ;;
      u*)
        _cronium_point=$((16#${_cronium_raw:1:4}))
        _cronium_raw=${_cronium_raw:4}
        if ((_cronium_point >= 0xD800 && _cronium_point < 0xDC00)) && [[ ${_cronium_raw:1:2} == \\u ]]; then
          _cronium_low=$((16#${_cronium_raw:3:4}))
          _cronium_point=$((0x10000 + ((_cronium_point - 0xD800) << 10) + _cronium_low - 0xDC00))
          _cronium_raw=${_cronium_raw:6}
        fi
        _cronium_add_character "$_cronium_point"
        ;;
      *) _cronium_value+=${_cronium_raw:0:1} ;;
    esac
    _cronium_raw=${_cronium_raw:1}
  done
  _cronium_value+=$_cronium_raw
}

# _cronium_add_character CODEPOINT: appends it to _cronium_value in UTF-8.
_cronium_add_character() {
  local _cronium_octal=''
  if (($1 < 0x80)); then
    set -- "$1"
  elif (($1 < 0x800)); then
    set -- "$((0xC0 | $1 >> 6))" "$((0x80 | $1 & 63))"
  elif (($1 < 0x10000)); then
    set -- "$((0xE0 | $1 >> 12))" "$((0x80 | $1 >> 6 & 63))" "$((0x80 | $1 & 63))"
  else
    set -- "$((0xF0 | $1 >> 18))" "$((0x80 | $1 >> 12 & 63))" "$((0x80 | $1 >> 6 & 63))" "$((0x80 | $1 & 63))"
  fi
  printf -v _cronium_octal '\\%03o' "$@"
  # shellcheck disable=SC2059 # the octal numbers are the format
  printf -v _cronium_octal "$_cronium_octal"
  _cronium_value+=$_cronium_octal
}

# The BASH_ENV that the caller had before Cronium took its place; a second sourcing of this file leaves it alone.
{ [[ -z ${CRONIUM_OUTER_BASH_ENV:-} || -n ${_cronium_outer_is_loaded:-} ]]; } 2>/dev/null || {
  _cronium_outer_is_loaded=1
  . "$CRONIUM_OUTER_BASH_ENV" || :
}
