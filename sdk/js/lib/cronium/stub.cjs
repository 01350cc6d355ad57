/** What a script works on outside of a job; read by cronium.cjs when it is needed. */
"use strict";

const { CroniumAPIError, CroniumError } = require("./cronium.cjs");

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

  /** Where a job's log would have the line. */
  log(encoded, level) {
    process[level === "debug" || level === "info" ? "stdout" : "stderr"].write(`${encoded}\n`);
  }

  readVariable(key, scope) {
    const content = this.#read();
    const place = (scope === undefined ? ["event", "global"] : [scope]).find((name) => this.#version(content, key, name));
    if (place === undefined) return { value: null, version: 0 };
    return { value: this.#part(content, place)[key], version: this.#version(content, key, place) };
  }

  setVariable(key, encoded, { version, scope = "global" }) {
    const content = this.#read();
    this.#checkVersion(content, key, version, scope);
    this.#store(content, key, scope, JSON.parse(encoded));
  }

  incrementVariable(key, encoded, { scope = "global" }) {
    const content = this.#read();
    const value = this.#version(content, key, scope) ? this.#part(content, scope)[key] : 0;
    if (typeof value !== "number") {
      throw new CroniumAPIError(409, "not_a_number", `The variable "${key}" holds no number to add to.`);
    }
    this.#store(content, key, scope, value + JSON.parse(encoded));
    return value + JSON.parse(encoded);
  }

  deleteVariable(key, { version, scope = "global" }) {
    const content = this.#read();
    const held = this.#version(content, key, scope);
    if (!held) return;
    this.#checkVersion(content, key, version, scope);
    const variables = { ...this.#part(content, scope) };
    delete variables[key];
    const versions = { ...this.#part(content, scope, "versions"), [key]: held };
    this.#write({ ...content, [placeName(scope)]: variables, [placeName(scope, "versions")]: versions });
  }

  listVariables(prefix, scope) {
    const content = this.#read();
    const keys = Object.keys(this.#part(content, scope)).filter((key) => key.startsWith(prefix));
    return keys.sort().map((key) => ({
      key,
      value: this.#part(content, scope)[key],
      version: this.#version(content, key, scope),
      scope,
      updated_at: null,
      description: null,
    }));
  }

  executeToolAction() {
    const message = "There are no tools outside of a job; start the script with: cronium run FILE";
    throw new CroniumError(message, "not_supported");
  }

  artifacts() {
    const { dirname, join } = require("node:path");
    return join(dirname(this.path), ".cronium-artifacts");
  }

  #part(content, scope, what = "variables") {
    const part = content[placeName(scope, what)] ?? {};
    return isObject(part) ? part : this.#fail(`"${placeName(scope, what)}" is not an object`);
  }

  /** What is not noted is 1, so that a file written by hand needs no versions. */
  #version(content, key, scope) {
    if (!Object.hasOwn(this.#part(content, scope), key)) return 0;
    const versions = this.#part(content, scope, "versions");
    return Object.hasOwn(versions, key) ? versions[key] : 1;
  }

  #checkVersion(content, key, wanted, scope) {
    const version = this.#version(content, key, scope);
    if (wanted === undefined || wanted === version) return;
    const message = `The variable "${key}" has version ${version} by now; read it again, then write.`;
    throw new CroniumAPIError(412, "version_mismatch", message);
  }

  #store(content, key, scope, value) {
    const versions = this.#part(content, scope, "versions");
    const earlier = Object.hasOwn(versions, key) ? versions[key] : this.#version(content, key, scope);
    const changed = { ...content, [placeName(scope)]: { ...this.#part(content, scope), [key]: value } };
    if (earlier > 0) changed[placeName(scope, "versions")] = { ...versions, [key]: earlier + 1 };
    this.#write(changed);
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

function placeName(scope, what = "variables") {
  return scope === "global" ? what : `event_${what}`;
}

function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

module.exports = StubFile;
