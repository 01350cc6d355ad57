/**
 * Makes `import "cronium"` work without an installation: NODE_PATH serves `require` only.
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
  if (specifier !== "cronium") return nextResolve(specifier, context);
  try {
    return nextResolve(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error; // that of `require`, which has NODE_PATH, is another
    return { url: fileUrl("cronium.mjs"), format: "module", shortCircuit: true };
  }
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
