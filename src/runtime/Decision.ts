/**
 * Decisions as users import them: the definitions of the domain, and what runs them.
 *
 * @since 0.1.0
 */
export * from "../domain/Decision.ts"
export { layer } from "./DecisionRunner.ts"
