/**
 * Decisions as users import them: the definitions of the domain, and what runs them.
 *
 * @since 0.1.0
 */
export * from "./DecisionDefinition.ts"
export { layer } from "./DecisionHandler.ts"
