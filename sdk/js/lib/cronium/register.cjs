/**
 * Makes `import "cronium"` work without an installation, and `import` of what lies in a `node_modules` on NODE_PATH, such
 * as a job's packages: NODE_PATH serves `require` only.
 *
 * Loaded into every Node process of a job by NODE_OPTIONS, as `--require`, which every version of Node takes. A package
 * of that name that the script has installed itself comes first.
 */
"use strict";

try {
  register(require("module"));
} catch {
  // Whatever it is - a policy that forbids threads, a Node that is none - the script must run; only `import` is missing.
}

function register(nodeModule) {
  if (typeof nodeModule.registerHooks === "function") {
    nodeModule.registerHooks({ resolve });
  } else if (typeof nodeModule.register === "function" && mayImport()) {
    nodeModule.register(fileUrl("resolve.mjs"));
  }
}

function resolve(specifier, context, nextResolve) {
  try {
    return nextResolve(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error; // that of `require`, which has NODE_PATH, is another
    if (specifier === "cronium") return { url: fileUrl("cronium.mjs"), format: "module", shortCircuit: true };
    if (!/^[@a-z0-9]/i.test(specifier) || specifier.includes(":")) throw error; // no name of a package
    for (const parentURL of parents()) {
      try {
        return nextResolve(specifier, { ...context, parentURL });
      } catch (again) {
        if (again.code !== "ERR_MODULE_NOT_FOUND") throw again;
      }
    }
    throw error;
  }
}

/** Where a module would have to lie to find what is in a `node_modules` on NODE_PATH. */
function parents() {
  const { basename, delimiter, dirname, join } = require("path");
  const places = (process.env.NODE_PATH ?? "").split(delimiter).filter((place) => basename(place) === "node_modules");
  return places.map((place) => require("url").pathToFileURL(join(dirname(place), "script.mjs")).href);
}

/**
 * Before `registerHooks` a hook costs a thread, which is 50 ms and 12 MB for every Node process of the job.
 * A script without the word `import` is CommonJS and has `require`. One that cannot be read might have the word.
 */
function mayImport() {
  try {
    const text = process._eval ?? require("fs").readFileSync(process.argv[1], "latin1");
    return /\bimport\b/.test(text);
  } catch {
    return true;
  }
}

function fileUrl(name) {
  return require("url").pathToFileURL(require("path").join(__dirname, name)).href;
}
