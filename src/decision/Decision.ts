/**
 * Decisions: models, the pure function that decides on them, and the layer that handles their commands.
 *
 * @since 0.1.0
 */
export * from "./DecisionDefinition.ts"
export { type DecisionOptions, layer } from "./DecisionHandler.ts"
export { ModelCacheLimits } from "./ModelCache.ts"
