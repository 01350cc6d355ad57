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
  getVariableVersion,
  setVariable,
  incrementVariable,
  deleteVariable,
  listVariables,
  getCondition,
  setCondition,
  event,
  getEventContext,
  progress,
  setProgress,
  log,
  artifact,
  executionMode,
  executeToolAction,
  sendEmail,
  sendSlackMessage,
  sendDiscordMessage,
  Cronium,
  CroniumError,
  CroniumAPIError,
  CroniumTimeoutError,
} = cronium;
