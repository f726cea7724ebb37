/**
 * An embedded PostgreSQL, for development, tests and single-process programs.
 *
 * @since 0.1.0
 */
export * as PgliteClient from "./PgliteClient.ts"
export { PgliteError } from "./PgliteError.ts"
