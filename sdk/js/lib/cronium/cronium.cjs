/**
 * Cronium for Node scripts: the job's input and output, variables, the condition and the context.
 *
 *     const cronium = require("cronium");
 *
 *     const { rows } = await cronium.input();
 *     await cronium.setVariable("lastCount", rows.length);
 *     await cronium.output({ count: rows.length });
 *
 * One file, Node's own modules only, Node 18 or later. Loading it does nothing but define names. Inside a job it talks to
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
const RETRIED_STATUSES = new Set([429, 502, 503, 504]);
// Nobody listens, not yet, or not any more; EAGAIN is a Unix socket whose queue of callers is full.
const RETRIED_CODES = new Set(["ECONNREFUSED", "ENOENT", "ECONNRESET", "ECONNABORTED", "EPIPE", "EAGAIN"]);

/** The call could not be made or was not answered; `code` says why: `runtime_unavailable` or `configuration`. */
class CroniumError extends Error {
  constructor(message, code = "runtime_unavailable", options = undefined) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The runtime API refused: `statusCode` is the HTTP status, `code` its stable reason, the message what to do. */
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
 * CRONIUM_SDK_DEADLINE_SECONDS) have passed. Every method may reject with a `CroniumError`; a value that is no JSON
 * rejects with a `TypeError` before anything is sent. Nothing is kept open between calls.
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

  async getVariable(key) {
    return this.#door().getVariable(checkedKey(key));
  }

  async setVariable(key, value) {
    const encoded = toJson(value, checkedKey(key));
    return this.#write((door) => door.setVariable(key, encoded));
  }

  async getCondition() {
    return this.#door().get("condition");
  }

  async setCondition(condition) {
    if (typeof condition !== "boolean") throw new TypeError("setCondition takes true or false; Boolean(x) makes one");
    return this.#write((door) => door.put("condition", "condition", String(condition)));
  }

  async event() {
    return (await this.#door().get("context")) ?? {};
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
    return new StubFile(stub || ".cronium.json");
  }
}

/** The runtime API over HTTP: one connection per call, tried again until the deadline. */
class RuntimeApi {
  constructor(base, token, executionId, seconds) {
    this.base = base;
    this.address = parseBase(base);
    this.token = token;
    this.root = `${this.address.prefix}/executions/${quoted(executionId)}/`;
    this.seconds = seconds;
  }

  get(name) {
    return this.#call("GET", name);
  }

  async put(name, field, encoded) {
    await this.#call("POST", name, `{"${field}":${encoded}}`);
  }

  async getVariable(key) {
    try {
      return await this.#call("GET", `variables/${quoted(key)}`);
    } catch (error) {
      if (error.code === "variable_not_found") return null;
      throw error;
    }
  }

  async setVariable(key, encoded) {
    await this.#call("PUT", `variables/${quoted(key)}`, `{"value":${encoded}}`);
  }

  /** Every operation here may be repeated: each writes the whole of what it names. */
  async #call(method, name, body) {
    const deadline = performance.now() + this.seconds * 1000;
    for (let tries = 0; ; tries += 1) {
      const outcome = await this.#attempt(method, name, body, deadline - performance.now());
      if (!outcome.failure) return outcome.data;
      const pause = outcome.pauseMs ?? backoffMs(tries);
      if (!outcome.again || performance.now() + pause >= deadline) throw outcome.failure;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  async #attempt(method, name, body, remainingMs) {
    const timeoutMs = Math.max(remainingMs, SHORTEST_ATTEMPT_MS);
    let answer;
    try {
      answer = await exchange(this.address, method, this.root + name, body, this.token, timeoutMs);
    } catch (cause) {
      return { failure: this.#explain(cause), again: RETRIED_CODES.has(cause.code) };
    }
    if (answer.status < 300) return { data: dataOf(answer) };
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
function exchange({ scheme, options }, method, path, body, token, timeoutMs) {
  const headers = { Authorization: `Bearer ${token}`, Accept: "application/json" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    headers["Content-Length"] = Buffer.byteLength(body);
  }
  return new Promise((resolve, reject) => {
    const call = require(scheme).request({ ...options, method, path, headers, agent: false }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        resolve({ status: response.statusCode, retryAfter: response.headers["retry-after"], text });
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
    return new CroniumAPIError(status, String(problem.code), String(problem.detail));
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

/** The same operations on a local JSON file, so that a script can be tried without a job. */
class StubFile {
  constructor(path) {
    this.path = require("node:path").resolve(path);
  }

  get(name) {
    return this.#read()[name] ?? null;
  }

  put(name, field, encoded) {
    this.#write({ ...this.#read(), [name]: JSON.parse(encoded) });
  }

  getVariable(key) {
    const variables = this.#variables(this.#read());
    return Object.hasOwn(variables, key) ? variables[key] : null;
  }

  setVariable(key, encoded) {
    const content = this.#read();
    const variables = { ...this.#variables(content), [key]: JSON.parse(encoded) };
    this.#write({ ...content, variables });
  }

  #variables(content) {
    const variables = content.variables ?? {};
    return isObject(variables) ? variables : this.#fail('"variables" is not an object');
  }

  #read() {
    let content;
    try {
      content = JSON.parse(require("node:fs").readFileSync(this.path, "utf8"));
    } catch (error) {
      return error.code === "ENOENT" ? {} : this.#fail(error.message, error);
    }
    return isObject(content) ? content : this.#fail("it does not hold a JSON object");
  }

  /** Replace the file as a whole: who reads it at any moment finds the old or the new one. */
  #write(content) {
    const { realpathSync, existsSync, renameSync, writeFileSync } = require("node:fs");
    try {
      const path = existsSync(this.path) ? realpathSync(this.path) : this.path;
      writeFileSync(`${path}.${process.pid}.tmp`, `${JSON.stringify(content, null, 2)}\n`);
      renameSync(`${path}.${process.pid}.tmp`, path);
    } catch (error) {
      this.#fail(error.message, error);
    }
  }

  #fail(why, cause = undefined) {
    const message = `The stub file ${this.path} cannot be used: ${why}. Mend or delete it, or set CRONIUM_STUB_FILE.`;
    throw new CroniumError(message, "configuration", { cause });
  }
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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
  if (typeof key !== "string" || key === "") throw new TypeError("A variable's key is text of at least one character");
  return key;
}

/** Percent-encoded as one segment of a path; dots alone would be taken for a way up. */
function quoted(text) {
  try {
    return /^\.{1,2}$/.test(text) ? text.replaceAll(".", "%2E") : encodeURIComponent(text);
  } catch (cause) {
    throw new TypeError(`A variable's key must be well-formed text, not ${JSON.stringify(text)}`, { cause });
  }
}

/**
 * The value as JSON text. What JSON cannot hold is a `TypeError` that names the place, where `JSON.stringify` would
 * write null or {} or leave it out; only a property that is undefined is left out, as everywhere in JavaScript.
 */
function toJson(value, name) {
  const paths = new WeakMap();
  return JSON.stringify(value, function check(key, held) {
    const parent = paths.get(this);
    const path = parent === undefined ? name : Array.isArray(this) ? `${parent}[${key}]` : `${parent}.${key}`;
    if (held === undefined && parent !== undefined && !Array.isArray(this)) return undefined;
    const fault = faultOf(held, this[key]);
    if (fault) throw new TypeError(`${path} is ${fault}`);
    if (typeof held === "object" && held !== null) paths.set(held, path);
    return held;
  });
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

const ALIASES = { getInput: "input", setOutput: "output", getEventContext: "event" };
for (const [alias, name] of Object.entries(ALIASES)) Cronium.prototype[alias] = Cronium.prototype[name];

// The default client is the module itself, with methods that also work when they are taken out of it.
const client = new Cronium();
for (const name of Object.getOwnPropertyNames(Cronium.prototype)) {
  if (name !== "constructor") exports[name] = client[name].bind(client);
}
Object.assign(exports, { Cronium, CroniumError, CroniumAPIError, CroniumTimeoutError });
Object.assign(exports, { cronium: exports, default: exports });
