/** Cronium for Node scripts: the job's input and output, variables, the condition and the context. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What runs this script; times are RFC 3339 in UTC. */
export interface EventContext {
  execution_id: string;
  job_id: string;
  attempt: number;
  event_id: string | null;
  run_id: string | null;
  step: string | null;
  name: string | null;
  type: string;
  trigger: string;
  executor: string;
  execution_mode: string;
  created_at: string;
  started_at: string | null;
  [field: string]: Json;
}

export interface CroniumOptions {
  /** `unix:/path` or `http://host:port`; default: CRONIUM_RUNTIME_API. */
  base?: string;
  /** The token of the attempt; default: CRONIUM_EXECUTION_TOKEN. */
  token?: string;
  /** Default: CRONIUM_EXECUTION_ID, else the execution that the token belongs to. */
  executionId?: string;
  /** How long a call may take, with all its tries; default: CRONIUM_SDK_DEADLINE_SECONDS, else 30. */
  deadlineSeconds?: number;
}

export class Cronium {
  constructor(options?: CroniumOptions);
  /** The job's input; null when it has none. */
  input<T = any>(): Promise<T>;
  getInput<T = any>(): Promise<T>;
  /** Keep the job's output, replacing what was kept before. */
  output(data: unknown): Promise<void>;
  setOutput(data: unknown): Promise<void>;
  /** The variable's value; null when there is no such variable. */
  getVariable<T = any>(key: string): Promise<T | null>;
  /** Write the variable. */
  setVariable(key: string, value: unknown): Promise<void>;
  /** The job's condition; null when none was set. */
  getCondition(): Promise<boolean | null>;
  /** Keep the job's condition. */
  setCondition(condition: boolean): Promise<void>;
  /** What runs this: the job, its attempt, event, run, step, trigger and times. */
  event(): Promise<EventContext>;
  getEventContext(): Promise<EventContext>;
}

/** The call could not be made or was not answered; `code` says why. */
export class CroniumError extends Error {
  constructor(message: string, code?: string, options?: { cause?: unknown });
  readonly code: string;
}

/** The runtime API refused; `code` is its stable reason. */
export class CroniumAPIError extends CroniumError {
  constructor(statusCode: number, code: string, message: string);
  readonly statusCode: number;
}

/** The runtime API did not answer within the deadline. */
export class CroniumTimeoutError extends CroniumError {
  constructor(message: string);
}

export const input: Cronium["input"];
export const getInput: Cronium["getInput"];
export const output: Cronium["output"];
export const setOutput: Cronium["setOutput"];
export const getVariable: Cronium["getVariable"];
export const setVariable: Cronium["setVariable"];
export const getCondition: Cronium["getCondition"];
export const setCondition: Cronium["setCondition"];
export const event: Cronium["event"];
export const getEventContext: Cronium["getEventContext"];

/** The module itself: every name above as a property. */
declare const cronium: Pick<Cronium, keyof Cronium> & {
  Cronium: typeof Cronium;
  CroniumError: typeof CroniumError;
  CroniumAPIError: typeof CroniumAPIError;
  CroniumTimeoutError: typeof CroniumTimeoutError;
};
export { cronium };
export default cronium;
