/**
 * Aggregates as users import them: the definitions of the domain, and what runs them.
 *
 * @since 0.1.0
 */
export * from "../domain/Aggregate.ts"
export { layer, load, type Loaded, type LoadOptions } from "./AggregateRunner.ts"
export type { RunOptions } from "./CommandRun.ts"
