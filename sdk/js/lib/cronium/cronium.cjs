/**
 * Cronium for Node scripts: input, output, variables, the condition, the context, progress, log entries, artifacts.
 *
 *     const cronium = require("cronium");
 *
 *     const { rows } = await cronium.input();
 *     await cronium.setVariable("lastCount", rows.length);
 *     await cronium.output({ count: rows.length });
 *
 * Node's own modules only, Node 18 or later. Loading it does nothing but define names. Inside a job it talks to
 * the runtime API that the environment names; outside of one it works on a local file, `CRONIUM_STUB_FILE` or
 * `.cronium.json`.
 */
"use strict";

const BASE_NAMES = ["CRONIUM_RUNTIME_API", "CRONIUM_API_ENDPOINT", "CRONIUM_API_URL"];
const TOKEN_NAMES = ["CRONIUM_EXECUTION_TOKEN", "CRONIUM_API_TOKEN"];
const ID_NAMES = ["CRONIUM_EXECUTION_ID", "CRONIUM_JOB_ID"];

const DEADLINE_SECONDS = 60;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
const SHORTEST_ATTEMPT_MS = 100; // a last try just before the deadline can still find out why nobody answers
const PAGE = 200;
const SCOPES = ["global", "event"];
const LEVELS = ["debug", "info", "warning", "error"];
const RETRIED_STATUSES = new Set([429, 502, 503, 504]);
// Nobody listens, not yet, or not any more; EAGAIN is a Unix socket whose queue of callers is full.
const RETRIED_CODES = new Set(["ECONNREFUSED", "ENOENT", "ECONNRESET", "ECONNABORTED", "EPIPE", "EAGAIN"]);

/**
 * The call could not be made or was not answered; `code` says why: `runtime_unavailable`, `configuration`,
 * `artifact_failed` (a file could not be left), `not_supported` (there is no such thing outside of a job).
 */
class CroniumError extends Error {
  constructor(message, code = "runtime_unavailable", options = undefined) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/**
 * The runtime API refused: `statusCode` is the HTTP status, `code` its stable reason, the message what to do.
 * `not_supported`: this server has no such operation.
 */
class CroniumAPIError extends CroniumError {
  constructor(statusCode, code, message) {
    super(message, code);
    this.statusCode = statusCode;
  }
}

/** The runtime API took the call and did not answer within the deadline; `code` is `timeout`. */
class CroniumTimeoutError extends CroniumError {
  constructor(message) {
    super(message, "timeout");
  }
}

/**
 * One job's side of the runtime API; what is not given is taken from the environment, at each call.
 *
 * A call is tried again while the runtime API cannot be reached or is busy, until `deadlineSeconds` (default 60, or
 * CRONIUM_SDK_DEADLINE_SECONDS) have passed; however often a write is tried, it has its effect once. Every method may
 * reject with a `CroniumError`; a wrong call rejects with a `TypeError` (`code`: `invalid_argument`) before anything is
 * sent. Nothing is kept open between calls.
 */
class Cronium {
  #given;
  #writes = Promise.resolve();

  constructor({ base, token, executionId, deadlineSeconds } = {}) {
    this.#given = { base, token, executionId, deadlineSeconds };
  }

  async input() {
    return this.#door().get("input");
  }

  async output(data) {
    const encoded = toJson(data, "output");
    return this.#write((door) => door.put("output", "data", encoded));
  }

  async getVariable(key, { scope } = {}) {
    return (await this.#door().readVariable(checkedKey(key), checkedScope(scope))).value;
  }

  async getVariableVersion(key, { scope } = {}) {
    return (await this.#door().readVariable(checkedKey(key), checkedScope(scope))).version;
  }

  async setVariable(key, value, { ifVersion, scope } = {}) {
    const encoded = toJson(value, checkedKey(key));
    const terms = { version: checkedVersion(ifVersion), scope: checkedScope(scope) };
    return this.#write((door) => door.setVariable(key, encoded, terms));
  }

  async incrementVariable(key, by = 1, { scope } = {}) {
    if (typeof by !== "number" && typeof by !== "bigint") throw usage("incrementVariable adds a number");
    const encoded = typeof by === "bigint" ? String(by) : toJson(by, "by");
    const terms = { scope: checkedScope(scope) };
    checkedKey(key);
    return this.#write((door) => door.incrementVariable(key, encoded, terms));
  }

  async deleteVariable(key, { ifVersion, scope } = {}) {
    const terms = { version: checkedVersion(ifVersion), scope: checkedScope(scope) };
    checkedKey(key);
    return this.#write((door) => door.deleteVariable(key, terms));
  }

  async listVariables(prefix = "", { scope } = {}) {
    if (typeof prefix !== "string") throw usage("The prefix of keys is text");
    return this.#door().listVariables(prefix, checkedScope(scope) ?? "global");
  }

  async getCondition() {
    return this.#door().get("condition");
  }

  async setCondition(condition) {
    if (typeof condition !== "boolean") throw usage("setCondition takes true or false; Boolean(x) makes one");
    return this.#write((door) => door.put("condition", "condition", String(condition)));
  }

  async event() {
    return (await this.#door().get("context")) ?? {};
  }

  async progress(value, message) {
    const encoded = toJson(shapeOfProgress(value, message), "progress");
    return this.#write((door) => door.put("progress", undefined, encoded));
  }

  async log(message, level = "info", data = undefined) {
    if (typeof message !== "string") throw usage("The message of a log entry is text");
    if (!LEVELS.includes(level)) throw usage(`The level ${String(level)} is none of ${LEVELS.join(", ")}`);
    const encoded = toJson({ level, message, data }, "log");
    return this.#write((door) => door.log(encoded, level));
  }

  async artifact(name, content) {
    const { checkedName, contentOf, leaveFile } = require("./artifact.cjs");
    const source = contentOf(checkedName(name), content);
    return leaveFile(process.env.CRONIUM_ARTIFACTS || this.#door().artifacts(), name, source);
  }

  async executionMode() {
    const mode = fromEnvironment(["CRONIUM_EXECUTION_MODE"]);
    if (mode) return mode;
    if (fromEnvironment(["CRONIUM_HELPER_MODE"])) return "ssh";
    return this.#given.base || fromEnvironment(BASE_NAMES) ? "process" : "local";
  }

  async executeToolAction(tool, action, params = {}, credential = null) {
    const encoded = toJson({ tool, action, params, credential }, "request");
    return this.#write((door) => door.executeToolAction(encoded));
  }

  async sendEmail({ to, ...more }) {
    return this.executeToolAction("email", "send_message", { to: Array.isArray(to) ? to : [to], ...more });
  }

  async sendSlackMessage(message) {
    return this.executeToolAction("slack", "send_message", message);
  }

  async sendDiscordMessage(message) {
    return this.executeToolAction("discord", "send_message", message);
  }

  /** Writes that a script does not await still happen one after the other, so that the last one counts. */
  #write(work) {
    const written = this.#writes.then(() => work(this.#door()));
    this.#writes = written.catch(() => undefined); // who called has the error; the next write does not depend on it
    return written;
  }

  #door() {
    const given = this.#given;
    const base = given.base ?? fromEnvironment(BASE_NAMES);
    const token = given.token ?? fromEnvironment(TOKEN_NAMES);
    const executionId = given.executionId ?? fromEnvironment(ID_NAMES);
    const stub = process.env.CRONIUM_STUB_FILE;
    if (base && token) {
      return new RuntimeApi(base, token, executionId ?? "current", given.deadlineSeconds ?? deadlineSeconds());
    }
    if (base) {
      throw new CroniumError("There is a runtime API but no token; set CRONIUM_EXECUTION_TOKEN.", "configuration");
    }
    // A job that lost its way to the runtime API must not write its output to a file that nobody reads.
    if ((token || executionId) && !stub) {
      throw new CroniumError("This job has no way to the runtime API: CRONIUM_RUNTIME_API is not set.");
    }
    const StubFile = require("./stub.cjs");
    return new StubFile(stub || ".cronium.json");
  }
}

/** The runtime API over HTTP: one connection per call, tried again until the deadline. */
class RuntimeApi {
  constructor(base, token, executionId, seconds) {
    this.base = base;
    this.address = parseBase(base);
    this.token = token;
    this.root = `executions/${quoted(executionId)}/`;
    this.seconds = seconds;
  }

  async get(name) {
    return (await this.#call("GET", this.root + name)).data;
  }

  async put(name, field, encoded) {
    await this.#call("POST", this.root + name, { body: field === undefined ? encoded : `{"${field}":${encoded}}` });
  }

  async log(encoded) {
    await this.#call("POST", `${this.root}log`, { body: encoded });
  }

  /** The value and its version; null and 0 when there is no such variable. */
  async readVariable(key, scope) {
    try {
      const { data, etag } = await this.#call("GET", this.#variable(key, scope));
      return { value: data, version: Number(/^"(\d+)"$/.exec(etag ?? "")?.[1] ?? 0) };
    } catch (error) {
      if (error.code === "variable_not_found") return { value: null, version: 0 };
      throw error;
    }
  }

  async setVariable(key, encoded, { version, scope }) {
    await this.#call("PUT", this.#variable(key, scope), { body: `{"value":${encoded}}`, version });
  }

  async incrementVariable(key, encoded, { scope }) {
    const path = this.#variable(key, scope, "/increment");
    return (await this.#call("POST", path, { body: `{"by":${encoded}}` })).data.value;
  }

  async deleteVariable(key, { version, scope }) {
    try {
      await this.#call("DELETE", this.#variable(key, scope), { version });
    } catch (error) {
      if (error.code !== "variable_not_found") throw error;
    }
  }

  async listVariables(prefix, scope) {
    const found = [];
    const query = `scope=${scope}&prefix=${quoted(prefix)}&limit=${PAGE}`;
    for (let cursor = ""; ; ) {
      const { data } = await this.#call("GET", `${this.root}variables?${query}${cursor}`);
      found.push(...data.items);
      if (data.next_cursor === null) return found;
      cursor = `&cursor=${quoted(data.next_cursor)}`;
    }
  }

  async executeToolAction(encoded) {
    return (await this.#call("POST", "tool-actions/execute", { body: encoded })).data;
  }

  artifacts() {
    throw new CroniumError(
      "This job has no directory for artifacts: CRONIUM_ARTIFACTS is not set.",
      "configuration",
    );
  }

  #variable(key, scope, more = "") {
    return `${this.root}variables/${quoted(key)}${more}${scope === undefined ? "" : `?scope=${scope}`}`;
  }

  /** Every operation may be repeated: each writes the whole of what it names, or is known by its Idempotency-Key. */
  async #call(method, path, { body, version } = {}) {
    const headers = this.#headers(method, body, version);
    const deadline = performance.now() + this.seconds * 1000;
    for (let tries = 0; ; tries += 1) {
      const outcome = await this.#attempt(method, path, body, headers, deadline - performance.now());
      if (!outcome.failure) return outcome;
      const pause = outcome.pauseMs ?? backoffMs(tries);
      if (!outcome.again || performance.now() + pause >= deadline) throw outcome.failure;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  #headers(method, body, version) {
    const headers = { Authorization: `Bearer ${this.token}`, Accept: "application/json" };
    if (method !== "GET") headers["Idempotency-Key"] = require("node:crypto").randomUUID();
    if (version === 0) headers["If-None-Match"] = "*";
    else if (version !== undefined) headers["If-Match"] = `"${version}"`;
    if (body !== undefined) {
      headers["Content-Type"] = "application/json";
      headers["Content-Length"] = Buffer.byteLength(body);
    }
    return headers;
  }

  async #attempt(method, path, body, headers, remainingMs) {
    const timeoutMs = Math.max(remainingMs, SHORTEST_ATTEMPT_MS);
    let answer;
    try {
      answer = await exchange(this.address, method, path, body, headers, timeoutMs);
    } catch (cause) {
      return { failure: this.#explain(cause), again: RETRIED_CODES.has(cause.code) };
    }
    if (answer.status < 300) return { data: dataOf(answer), etag: answer.etag };
    const wish = answer.retryAfter;
    const pauseMs = /^\d+$/.test(wish ?? "") ? Number(wish) * 1000 : undefined;
    return { failure: refusal(answer), again: RETRIED_STATUSES.has(answer.status), pauseMs };
  }

  #explain(cause) {
    if (cause.code === "timeout") {
      return new CroniumTimeoutError(`The runtime API at ${this.base} did not answer within ${this.seconds} s`);
    }
    const message = `The runtime API at ${this.base} cannot be reached: ${cause.message}`;
    return new CroniumError(message, "runtime_unavailable", { cause });
  }
}

/** One request and its answer, on a connection that is closed afterwards: an open one would keep the script alive. */
function exchange({ scheme, options, prefix }, method, path, body, headers, timeoutMs) {
  const way = { ...options, method, path: `${prefix}/${path}`, headers, agent: false };
  return new Promise((resolve, reject) => {
    const call = require(scheme).request(way, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        const { etag, "retry-after": retryAfter } = response.headers;
        resolve({ status: response.statusCode, etag, retryAfter, text });
      });
    });
    const timer = setTimeout(() => {
      reject(Object.assign(new Error("no answer"), { code: "timeout" }));
      call.destroy();
    }, timeoutMs);
    call.on("error", reject);
    call.on("close", () => {
      clearTimeout(timer);
      reject(Object.assign(new Error("the answer broke off"), { code: "ECONNRESET" })); // no effect after `end`
    });
    call.end(body);
  });
}

function parseBase(base) {
  const text = base.replace(/\/+$/, "");
  if (text.startsWith("unix:")) {
    return { scheme: "node:http", options: { socketPath: text.replace(/^unix:(\/\/)?/, ""), host: "localhost" }, prefix: "" };
  }
  let url;
  try {
    url = new URL(text);
  } catch (cause) {
    throw wrongBase(base, cause);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw wrongBase(base);
  const options = { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port || undefined };
  return { scheme: `node:${url.protocol.slice(0, -1)}`, options, prefix: url.pathname.replace(/\/+$/, "") };
}

function wrongBase(base, cause = undefined) {
  const message = `The runtime API address "${base}" is neither unix:/path nor http://host:port.`;
  return new CroniumError(message, "configuration", { cause });
}

function dataOf({ status, text }) {
  const answer = parsed(text);
  if (answer && typeof answer === "object" && "data" in answer) return answer.data;
  throw new CroniumAPIError(status, "invalid_answer", `What answers is not a runtime API: ${text.slice(0, 200)}`);
}

/** The error that a problem document stands for; proxies in between answer with anything. */
function refusal({ status, text }) {
  const problem = parsed(text);
  if (problem && typeof problem === "object" && "code" in problem && "detail" in problem) {
    const absent = problem.code === "route_not_found" || problem.code === "method_not_allowed";
    if (!absent) return new CroniumAPIError(status, String(problem.code), String(problem.detail));
    const message = `This is not supported by this server; update it. ${problem.detail}`;
    return new CroniumAPIError(status, "not_supported", message);
  }
  return new CroniumAPIError(status, "http_error", `The runtime API answered ${status}: ${text.slice(0, 200)}`);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // the callers say what was expected in its place
  }
}

function backoffMs(tries) {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(tries, 10), LONGEST_PAUSE_MS);
  return longest * (0.5 + Math.random() / 2);
}

function shapeOfProgress(value, message) {
  if (typeof value === "number") return message === undefined ? { percent: value } : { percent: value, message };
  if (message !== undefined) throw usage("progress takes a message beside a percentage only");
  return typeof value === "string" ? { message: value } : value;
}

function fromEnvironment(names) {
  return names.map((name) => process.env[name]?.trim()).find(Boolean);
}

function deadlineSeconds() {
  const text = process.env.CRONIUM_SDK_DEADLINE_SECONDS;
  if (!text) return DEADLINE_SECONDS;
  const seconds = Number(text);
  if (Number.isFinite(seconds) && seconds >= 0) return seconds;
  throw new CroniumError(`CRONIUM_SDK_DEADLINE_SECONDS is "${text}"; give a number of seconds.`, "configuration");
}

function checkedKey(key) {
  if (typeof key !== "string" || key === "") throw usage("A variable's key is text of at least one character");
  return key;
}

function checkedScope(scope) {
  if (scope === undefined || SCOPES.includes(scope)) return scope;
  throw usage(`The scope of a variable is "global" or "event", not ${String(scope)}`);
}

function checkedVersion(version) {
  if (version === undefined || (Number.isSafeInteger(version) && version >= 0)) return version;
  throw usage(`ifVersion is a version, or 0 for no variable, not ${String(version)}`);
}

/** What is wrong in the script itself. */
function usage(message, options = undefined) {
  return Object.assign(new TypeError(message, options), { code: "invalid_argument" });
}

/** Percent-encoded as one segment of a path; dots alone would be taken for a way up. */
function quoted(text) {
  try {
    return /^\.{1,2}$/.test(text) ? text.replaceAll(".", "%2E") : encodeURIComponent(text);
  } catch (cause) {
    throw usage(`A variable's key must be well-formed text, not ${JSON.stringify(text)}`, { cause });
  }
}

/**
 * The value as JSON text. What JSON cannot hold is a `TypeError` that names the place, where `JSON.stringify` would
 * write null or {} or leave it out; only a property that is undefined is left out, as everywhere in JavaScript.
 */
function toJson(value, name) {
  const paths = new WeakMap();
  try {
    return JSON.stringify(value, check);
  } catch (error) {
    throw Object.assign(error, { code: "invalid_argument" }); // what contains itself is an error of JSON.stringify
  }
  function check(key, held) {
    const parent = paths.get(this);
    const path = parent === undefined ? name : Array.isArray(this) ? `${parent}[${key}]` : `${parent}.${key}`;
    if (held === undefined && parent !== undefined && !Array.isArray(this)) return undefined;
    const fault = faultOf(held, this[key]);
    if (fault) throw usage(`${path} is ${fault}`);
    if (typeof held === "object" && held !== null) paths.set(held, path);
    return held;
  }
}

function faultOf(held, original) {
  if (held === undefined) return "undefined, which JSON cannot hold: use null";
  if (typeof held === "number" && !Number.isFinite(held)) return `${held}, which JSON cannot hold: use null or text`;
  if (typeof held === "bigint") return "a BigInt, which JSON cannot hold: use String(x) or Number(x)";
  if (typeof held === "function" || typeof held === "symbol") return `a ${typeof held}, which JSON cannot hold`;
  if (held instanceof Map) return "a Map, which JSON cannot hold: use Object.fromEntries(x)";
  if (held instanceof Set) return "a Set, which JSON cannot hold: use [...x]";
  if (ArrayBuffer.isView(original)) return "binary data, which JSON cannot hold: encode it, for example as base64";
  return undefined;
}

const ALIASES = { getInput: "input", setOutput: "output", getEventContext: "event", setProgress: "progress" };
for (const [alias, name] of Object.entries(ALIASES)) Cronium.prototype[alias] = Cronium.prototype[name];

// The default client is the module itself, with methods that also work when they are taken out of it.
const client = new Cronium();
for (const name of Object.getOwnPropertyNames(Cronium.prototype)) {
  if (name !== "constructor") exports[name] = client[name].bind(client);
}
Object.assign(exports, { Cronium, CroniumError, CroniumAPIError, CroniumTimeoutError });
Object.assign(exports, { cronium: exports, default: exports });
