/** Cronium for Node scripts that use `import`; the code is in cronium.cjs, so both kinds of script share one copy. */
import cronium from "./cronium.cjs";

export default cronium;
export { cronium };
export const {
  input,
  getInput,
  output,
  setOutput,
  getVariable,
  setVariable,
  getCondition,
  setCondition,
  event,
  getEventContext,
  Cronium,
  CroniumError,
  CroniumAPIError,
  CroniumTimeoutError,
} = cronium;
