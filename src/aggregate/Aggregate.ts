/**
 * Aggregates as users import them: the definitions of the domain, and what runs them.
 *
 * @since 0.1.0
 */
export type { RunOptions } from "../command/CommandExecution.ts"
export { close } from "./AggregateClosing.ts"
export * from "./AggregateDefinition.ts"
export { type AggregateOptions, layer } from "./AggregateHandler.ts"
export { dropSnapshots } from "./AggregateSnapshotter.ts"
export { load, type Loaded, type LoadOptions, StateCache } from "./AggregateStateCache.ts"
