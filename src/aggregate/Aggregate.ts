/**
 * Aggregates: the contract and the decider, the layer that handles their commands, and what loads or closes an instance.
 *
 * @since 0.1.0
 */
export type { RunOptions } from "../command/CommandExecution.ts"
export { close } from "./AggregateClosing.ts"
export * from "./AggregateDefinition.ts"
export { type AggregateOptions, layer } from "./AggregateHandler.ts"
export { load, type LoadOptions } from "./AggregateLoader.ts"
export { dropSnapshots } from "./AggregateSnapshotter.ts"
export type { Loaded } from "./AggregateState.ts"
export { StateCache } from "./AggregateStateCache.ts"
