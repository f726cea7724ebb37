/**
 * Aggregates as users import them: the definitions of the domain, and what runs them.
 *
 * @since 0.1.0
 */
export * from "../domain/Aggregate.ts"
export { type AggregateOptions, layer } from "./AggregateRunner.ts"
export { load, type Loaded, type LoadOptions, StateCache } from "./AggregateState.ts"
export type { RunOptions } from "./CommandRun.ts"
export { closeInstance as close } from "./Streams.ts"
