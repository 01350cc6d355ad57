/** Cronium for Node scripts: input, output, variables, the condition, the context, progress, log entries, artifacts. */

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
  /** How long a call may take, with all its tries; default: CRONIUM_SDK_DEADLINE_SECONDS, else 60. */
  deadlineSeconds?: number;
}

export interface ScopeOption {
  /** Whose variable: "global", or the "event"'s own. Reading without one looks at the event's first, writing means global. */
  scope?: "global" | "event";
}

export interface WriteOptions extends ScopeOption {
  /** Write only if the variable has this version (0: only if there is none); else 412 `version_mismatch`. */
  ifVersion?: number;
}

export interface Variable<T = any> {
  key: string;
  value: T;
  version: number;
  scope: "global" | "event";
  updated_at: string | null;
  description: string | null;
}

export type Level = "debug" | "info" | "warning" | "error";

/** Text, bytes, a stream of them, or a file to copy. */
export type Content = string | ArrayBufferView | AsyncIterable<string | Uint8Array> | URL | { path: string };

export interface Email {
  to: string | string[];
  subject: string;
  body: string;
  [parameter: string]: unknown;
}

export interface SlackMessage {
  channel?: string;
  text: string;
  [parameter: string]: unknown;
}

export interface DiscordMessage {
  channelId?: string;
  content: string;
  [parameter: string]: unknown;
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
  getVariable<T = any>(key: string, options?: ScopeOption): Promise<T | null>;
  /** The variable's version, for `ifVersion`; 0 when there is none. Ask for it before the value. */
  getVariableVersion(key: string, options?: ScopeOption): Promise<number>;
  /** Write the variable. */
  setVariable(key: string, value: unknown, options?: WriteOptions): Promise<void>;
  /** Add to a number, which starts at 0; the sum. No addition is lost, whoever adds at the same time. */
  incrementVariable(key: string, by?: number | bigint, options?: ScopeOption): Promise<number>;
  /** Remove the variable; that there was none is no error. */
  deleteVariable(key: string, options?: WriteOptions): Promise<void>;
  /** The variables of one scope (without one: global) whose key begins with `prefix`, by key. */
  listVariables(prefix?: string, options?: ScopeOption): Promise<Variable[]>;
  /** The job's condition; null when none was set. */
  getCondition(): Promise<boolean | null>;
  /** Keep the job's condition. */
  setCondition(condition: boolean): Promise<void>;
  /** What runs this: the job, its attempt, event, run, step, trigger and times. */
  event(): Promise<EventContext>;
  getEventContext(): Promise<EventContext>;
  /** Show how far the script is: a percentage, a message, both, or any small JSON value. */
  progress(percent: number, message?: string): Promise<void>;
  progress(value: unknown): Promise<void>;
  setProgress(percent: number, message?: string): Promise<void>;
  setProgress(value: unknown): Promise<void>;
  /** Add an entry to the job's log. */
  log(message: string, level?: Level, data?: unknown): Promise<void>;
  /** Leave a file behind as the job's artifact, as a whole or not at all; resolves to its name. */
  artifact(name: string, content: Content): Promise<string>;
  /** Where this runs; "local" outside of a job. */
  executionMode(): Promise<"container" | "ssh" | "process" | "local">;
  /** Have the server carry out a tool's action; what the action gives back. */
  executeToolAction<T = any>(
    tool: string,
    action: string,
    params?: Record<string, unknown>,
    credential?: string | null,
  ): Promise<T>;
  sendEmail<T = any>(email: Email): Promise<T>;
  sendSlackMessage<T = any>(message: SlackMessage): Promise<T>;
  sendDiscordMessage<T = any>(message: DiscordMessage): Promise<T>;
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
export const getVariableVersion: Cronium["getVariableVersion"];
export const setVariable: Cronium["setVariable"];
export const incrementVariable: Cronium["incrementVariable"];
export const deleteVariable: Cronium["deleteVariable"];
export const listVariables: Cronium["listVariables"];
export const getCondition: Cronium["getCondition"];
export const setCondition: Cronium["setCondition"];
export const event: Cronium["event"];
export const getEventContext: Cronium["getEventContext"];
export const progress: Cronium["progress"];
export const setProgress: Cronium["setProgress"];
export const log: Cronium["log"];
export const artifact: Cronium["artifact"];
export const executionMode: Cronium["executionMode"];
export const executeToolAction: Cronium["executeToolAction"];
export const sendEmail: Cronium["sendEmail"];
export const sendSlackMessage: Cronium["sendSlackMessage"];
export const sendDiscordMessage: Cronium["sendDiscordMessage"];

/** The module itself: every name above as a property. */
declare const cronium: Pick<Cronium, keyof Cronium> & {
  Cronium: typeof Cronium;
  CroniumError: typeof CroniumError;
  CroniumAPIError: typeof CroniumAPIError;
  CroniumTimeoutError: typeof CroniumTimeoutError;
};
export { cronium };
export default cronium;
