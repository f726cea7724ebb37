/**
 * Commands, queries and streams as promises and async iterators, for Express, Fastify, Hono and other code that does not use Effect.
 *
 * @since 0.1.0
 */
export { AppClosed, LayerTimeout } from "./AppError.ts"
export * as Evsrc from "./Evsrc.ts"
