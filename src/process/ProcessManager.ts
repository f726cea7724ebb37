/**
 * Process managers: flows over several aggregates, with deadlines. A process manager reacts to events with commands, deadlines and events of its own.
 *
 * @since 0.1.0
 */
export { ignore } from "../consumer/ConsumerDefinition.ts"
export { health, type HealthOptions, type ProcessHealth, watch, type WatchOptions } from "./health/ProcessHealth.ts"
export * from "./ProcessContract.ts"
export { make } from "./ProcessDefinition.ts"
export { Instance } from "./ProcessInstances.ts"
export { layer, ProcessManagers, type ProcessOptions } from "./ProcessLayer.ts"
export { abandon, consumers, eventName, inspect, type Inspection, list, retry } from "./ProcessOperations.ts"
export type { Pending, ProcessState } from "./ProcessState.ts"
export {
  cancelDeadline,
  complete,
  continue_ as continue,
  deadline,
  type DeadlineFields,
  send,
  start
} from "./Reaction.ts"
