/**
 * HTTP endpoints of commands and queries, on `effect/http-api`.
 *
 * @since 0.1.0
 */
export * as HttpActor from "./HttpActor.ts"
export * as HttpCommand from "./HttpCommand.ts"
export * as HttpErrors from "./HttpErrors.ts"
export * as HttpFallback from "./HttpFallback.ts"
export * as HttpHandlers from "./HttpHandlers.ts"
export * as HttpHealth from "./HttpHealth.ts"
export * as HttpProblems from "./HttpProblems.ts"
export * as HttpQuery from "./HttpQuery.ts"
export * as HttpSource from "./HttpSource.ts"
export * as HttpStream from "./HttpStream.ts"
export { HttpReceipt } from "./Requests.ts"
