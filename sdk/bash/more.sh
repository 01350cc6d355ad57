# What fewer scripts call: artifacts, tools, and the local file outside of a job. Read by cronium.sh, in a subshell.

# cronium_artifact NAME [FILE]: leaves a file behind, a copy of FILE or what comes from stdin, as a whole or not at all.
cronium_artifact() (
  _cronium_enter 'cronium_artifact NAME [FILE]' 1 2 "$@" || exit
  _cronium_check_name "$1" && _cronium_find_artifacts || exit
  if (($# == 1)) && [[ -t 0 ]]; then
    _cronium_say 'name a FILE, or send its content to stdin'
    exit 2
  fi
  _cronium_target=$_cronium_artifacts/$1
  _cronium_name_operation
  _cronium_draft=${_cronium_target%/*}/.$_cronium_operation.tmp
  { _cronium_leave "${2--}" && exit; } 2>/dev/null
  [[ ! -e $_cronium_draft ]] || command rm -f -- "$_cronium_draft"
  _cronium_say "the artifact '$1' cannot be left in $_cronium_artifacts: is ${2:-stdin} readable, and room there?"
  exit 1
)

# cronium_execute_tool_action TOOL ACTION [JSON [CREDENTIAL]]: has the server do it, and prints what it gives back.
cronium_execute_tool_action() (
  _cronium_enter 'cronium_execute_tool_action TOOL ACTION [JSON [CREDENTIAL]]' 2 4 "$@" || exit
  _cronium_act "$@"
)

# cronium_send_email TO SUBJECT BODY [--cc LIST] [--bcc LIST] [--html]; TO and LIST are separated by commas.
cronium_send_email() (
  _cronium_enter 'cronium_send_email TO SUBJECT BODY [--cc LIST] [--bcc LIST] [--html]' 3 99 "$@" || exit
  _cronium_parameters=''
  _cronium_add_list to "$1"
  _cronium_add_text subject "$2"
  _cronium_add_text body "$3"
  shift 3
  while (($#)); do
    case $1 in
      --cc | --bcc) _cronium_add_list "${1#--}" "${2-}" && shift ;;
      --html) _cronium_parameters+=',"html":true' ;;
      *) _cronium_say "the option '$1' is not known" && exit 2 ;;
    esac
    shift
  done
  _cronium_act email send_message "{${_cronium_parameters#,}}"
)

# cronium_send_slack_message CHANNEL TEXT [--username NAME] [--icon-emoji NAME] [--icon-url URL]
cronium_send_slack_message() (
  _cronium_enter 'cronium_send_slack_message CHANNEL TEXT [--username NAME] [--icon-emoji NAME] [--icon-url URL]' 2 8 "$@" ||
    exit
  _cronium_parameters=''
  _cronium_add_text channel "$1"
  _cronium_add_text text "$2"
  shift 2
  while (($#)); do
    case $1 in
      --username) _cronium_add_text username "${2-}" ;;
      --icon-emoji) _cronium_add_text iconEmoji "${2-}" ;;
      --icon-url) _cronium_add_text iconUrl "${2-}" ;;
      *) _cronium_say "the option '$1' is not known" && exit 2 ;;
    esac
    shift
    (($#)) && shift
  done
  _cronium_act slack send_message "{${_cronium_parameters#,}}"
)

# cronium_send_discord_message CHANNEL_ID CONTENT [--embed JSON]
cronium_send_discord_message() (
  _cronium_enter 'cronium_send_discord_message CHANNEL_ID CONTENT [--embed JSON]' 2 4 "$@" || exit
  _cronium_parameters=''
  _cronium_add_text channelId "$1"
  _cronium_add_text content "$2"
  case ${3-} in
    '') ;;
    --embed) _cronium_parameters+=",\"embeds\":[${4-}]" ;;
    *) _cronium_say "the option '$3' is not known" && exit 2 ;;
  esac
  _cronium_act discord send_message "{${_cronium_parameters#,}}"
)

# _cronium_check_name NAME: whether a file can be left under it.
_cronium_check_name() {
  local _cronium_levels=${1//[!\/]/}
  case /$1/ in
    *//* | */./* | */../* | *[[:cntrl:]]*) ;;
    *) ((${#1} <= 1024 && ${#_cronium_levels} < 16)) && return ;;
  esac
  _cronium_say "the artifact name '${1:0:80}' is not a relative path of at most 16 levels and 1024 bytes without . and .."
  return 2
}

# Sets _cronium_artifacts; outside of a job it lies beside the stub file.
_cronium_find_artifacts() {
  _cronium_artifacts=${CRONIUM_ARTIFACTS:-}
  [[ -z $_cronium_artifacts ]] || return 0
  _cronium_find_base
  if _cronium_find_stub; then
    [[ $_cronium_stub == */* ]] || _cronium_stub=./$_cronium_stub
    _cronium_artifacts=${_cronium_stub%/*}/.cronium-artifacts
    return
  fi
  _cronium_say 'this job has no directory for artifacts: CRONIUM_ARTIFACTS is not set'
  return 1
}

# _cronium_leave FILE: writes beside the place and renames: who looks at any moment finds the whole file or none.
_cronium_leave() {
  [[ -d ${_cronium_target%/*} ]] || command mkdir -p -- "${_cronium_target%/*}" || return
  [[ ! -d $_cronium_target ]] || return
  if [[ $1 == - ]]; then
    command cat >"$_cronium_draft" || return
  else
    command cat <"$1" >"$_cronium_draft" || return
  fi
  command mv -f -- "$_cronium_draft" "$_cronium_target"
}

# _cronium_act TOOL ACTION [JSON [CREDENTIAL]]
_cronium_act() {
  _cronium_quote "$1"
  _cronium_sent="{\"tool\":$_cronium_quoted"
  _cronium_quote "$2"
  _cronium_sent+=",\"action\":$_cronium_quoted,\"params\":"
  [[ -n ${3-} ]] && _cronium_sent+=$3 || _cronium_sent+='{}'
  if [[ -n ${4-} ]]; then
    _cronium_quote "$4"
    _cronium_sent+=",\"credential\":$_cronium_quoted"
  fi
  _cronium_sent+='}' _cronium_type=application/json
  _cronium_call POST /tool-actions/execute && _cronium_print "$_cronium_body"
}

# _cronium_add_text NAME TEXT, _cronium_add_list NAME TEXT,TEXT...: add to _cronium_parameters.
_cronium_add_text() {
  _cronium_quote "$2"
  _cronium_parameters+=",\"$1\":$_cronium_quoted"
}

_cronium_add_list() {
  local _cronium_items=$2, _cronium_item _cronium_list=''
  while [[ -n $_cronium_items ]]; do
    _cronium_item=${_cronium_items%%,*}
    _cronium_items=${_cronium_items#*,}
    _cronium_item=${_cronium_item#"${_cronium_item%%[! ]*}"}
    [[ -n $_cronium_item ]] || continue
    _cronium_quote "$_cronium_item"
    _cronium_list+=,$_cronium_quoted
  done
  _cronium_parameters+=",\"$1\":[${_cronium_list#,}]"
}

# Outside of a job: the local file, read and written by the SDK for Python, which answers as the runtime API would.
_cronium_use_stub() {
  local _cronium_program _cronium_answer
  _cronium_program=$(type -P python3) || _cronium_program=''
  [[ $_cronium_method != [GD]* ]] || _cronium_sent=''
  _cronium_answer=$(
    [[ -z $_cronium_program ]] || printf '%s' "$_cronium_sent" | _cronium_by_stub 2>/dev/null
    printf x
  )
  _cronium_answer=${_cronium_answer%x}
  if [[ -z $_cronium_answer ]]; then
    _cronium_unavailable 'outside of a job this needs python3 and cronium.py of the SDK for Python; or: cronium run FILE'
    return
  fi
  _cronium_read_answer "$_cronium_answer"
}

_cronium_by_stub() {
  CRONIUM_STUB_FILE=$_cronium_stub CRONIUM_EXECUTION_TOKEN='' "$_cronium_program" -I -c '
import io, json, sys
from urllib.parse import parse_qs, unquote
sys.path.insert(0, sys.argv[1])
import cronium
method, target, version = sys.argv[2:]
path, _, query = target.partition("?")
asked = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
name, _, rest = path.partition("/")
key, increments = unquote(rest.partition("/")[0]), rest.endswith("/increment")
scope, terms = asked.get("scope"), int(version) if version else None
text = sys.stdin.buffer.read().decode("utf-8")
def refuse(_):
    raise ValueError
try:
    value = json.loads(text, parse_constant=refuse)
except ValueError:
    value = text
def condition():
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.strip().lower() not in words:
        message = "{!r} is not a condition: send true, 1, yes or on; or false, 0, no or off."
        raise cronium.CroniumAPIError(422, "invalid_condition", message.format(text))
    cronium.set_condition(words[text.strip().lower()])
def listed():
    keys = [item["key"] for item in cronium.list_variables(asked["prefix"], scope)]
    return "".join(key + "\n" for key in keys if key > asked.get("cursor", ""))
def log():
    sys.stdout = sys.stderr = held = io.StringIO()
    cronium.log(value["message"], value["level"], value.get("data"))
    return held.getvalue()
calls = {
    "GET input": cronium.input,
    "POST output": lambda: cronium.output(value),
    "GET condition": cronium.get_condition,
    "POST condition": condition,
    "GET context": cronium.event,
    "POST progress": lambda: cronium.progress(value),
    "POST log": log,
    "GET variables": (lambda: cronium.get_variable(key, scope)) if rest else listed,
    "PUT variables": lambda: cronium.set_variable(key, value, terms, scope),
    "POST variables": lambda: cronium.increment_variable(key, value, scope),
    "DELETE variables": lambda: cronium.delete_variable(key, terms, scope),
    "POST ": lambda: cronium.execute_tool_action("", ""),
}
out = sys.stdout
head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
try:
    answer = calls[method + " " + name]()
    if method == "GET" and rest:
        head += "ETag: \"{}\"\r\n".format(cronium.get_variable_version(key, scope))
except cronium.CroniumError as error:
    status = getattr(error, "status_code", 422)
    head = "HTTP/1.1 {} Refused\r\nContent-Type: application/problem+json\r\n".format(status)
    answer = json.dumps({"code": error.code, "detail": error.message})
if not isinstance(answer, str):
    answer = "" if answer is None else json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
out.buffer.write((head + "\r\n" + answer).encode("utf-8"))
' "$_cronium_home/../python" "$_cronium_method" "$_cronium_path" "$_cronium_version"
}
