/** The hook of register.cjs for Node 18.19 to 22.14, where hooks run in a thread of their own. */
import { basename, delimiter, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const OWN = new URL("cronium.mjs", import.meta.url).href;

export async function resolve(specifier, context, nextResolve) {
  try {
    return await nextResolve(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    if (specifier === "cronium") return { url: OWN, format: "module", shortCircuit: true };
    if (!/^[@a-z0-9]/i.test(specifier) || specifier.includes(":")) throw error; // no name of a package
    for (const parentURL of parents()) {
      try {
        return await nextResolve(specifier, { ...context, parentURL });
      } catch (again) {
        if (again.code !== "ERR_MODULE_NOT_FOUND") throw again;
      }
    }
    throw error;
  }
}

/** Where a module would have to lie to find what is in a `node_modules` on NODE_PATH. */
function parents() {
  const places = (process.env.NODE_PATH ?? "").split(delimiter).filter((place) => basename(place) === "node_modules");
  return places.map((place) => pathToFileURL(join(dirname(place), "script.mjs")).href);
}
