/** Files that a script leaves behind; read by cronium.cjs when it is needed. */
"use strict";

const { CroniumError } = require("./cronium.cjs");

/** Write beside the place and rename: who looks at any moment finds the whole file or none. */
async function leaveFile(directory, name, source) {
  const { dirname, join } = require("node:path");
  const { mkdir, rename, rm } = require("node:fs/promises");
  const target = join(directory, name);
  const draft = join(dirname(target), `.${require("node:crypto").randomUUID()}.tmp`);
  try {
    await mkdir(dirname(target), { recursive: true });
    await fill(draft, source);
    await rename(draft, target);
  } catch (cause) {
    await rm(draft, { force: true });
    const message = `The artifact "${name}" cannot be left in ${directory}: ${cause.message}`;
    throw new CroniumError(message, "artifact_failed", { cause });
  }
  return name;
}

async function fill(draft, { path, content }) {
  const fs = require("node:fs");
  if (path === undefined && typeof content[Symbol.asyncIterator] !== "function") {
    await fs.promises.writeFile(draft, content, { flag: "wx" });
    return;
  }
  const source = path === undefined ? content : fs.createReadStream(path);
  await require("node:stream/promises").pipeline(source, fs.createWriteStream(draft, { flags: "wx" }));
}

function contentOf(name, content) {
  if (typeof content === "string" || ArrayBuffer.isView(content)) return { content };
  if (content instanceof URL) return { path: content };
  if (typeof content?.path === "string" && !content[Symbol.asyncIterator]) return { path: content.path };
  if (typeof content?.[Symbol.asyncIterator] === "function") return { content };
  throw usage(`The content of the artifact "${name}" is text, bytes, a stream, or { path } of a file to copy`);
}

function checkedName(name) {
  if (typeof name !== "string") throw usage("The name of an artifact is text");
  const parts = name.split("/");
  const wrong = parts.some((part) => part === "" || part === "." || part === "..") || /[\x00-\x1f\x7f]/.test(name);
  if (!wrong && parts.length <= 16 && Buffer.byteLength(name) <= 1024) return name;
  const shown = JSON.stringify(name.slice(0, 80));
  throw usage(`The artifact name ${shown} is not a relative path of at most 16 levels and 1024 bytes without . and ..`);
}

/** What is wrong in the script itself. */
function usage(message) {
  return Object.assign(new TypeError(message), { code: "invalid_argument" });
}

module.exports = { checkedName, contentOf, leaveFile };
