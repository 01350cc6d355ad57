/** The hook of register.cjs for Node 18.19 to 22.14, where hooks run in a thread of their own. */

export async function resolve(specifier, context, nextResolve) {
  if (specifier !== "cronium") return nextResolve(specifier, context);
  try {
    return await nextResolve(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    return { url: new URL("cronium.mjs", import.meta.url).href, format: "module", shortCircuit: true };
  }
}
