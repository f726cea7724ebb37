/**
 * The responses to requests, without a framework: a status and a JSON body.
 */
import type { EventStoreErrorReason } from "evsrc"
import type { Evsrc } from "evsrc/promise"
import type { DeactivateUser, RegisterUser, RenameUser } from "../users/contract/UserCommands.ts"
import type { GetUser } from "../users/contract/UserQueries.ts"

export interface Answer {
  readonly status: number
  readonly body: unknown
}

type AnyError =
  | Evsrc.CommandError<typeof RegisterUser | typeof RenameUser | typeof DeactivateUser>
  | Evsrc.QueryError<typeof GetUser>

/** A command or query with a further error does not compile until the error has a status here. */
const statuses: Readonly<Record<Exclude<AnyError["_tag"], "EventStoreError">, number>> = {
  InvalidCommand: 400,
  InvalidQuery: 400,
  UserNotFound: 404,
  UserAlreadyRegistered: 409,
  UserIsDeactivated: 409,
  ConcurrencyConflict: 409,
  ProjectionBehind: 503,
  AppClosed: 503
}

const statusesOfReasons: { readonly [Tag in EventStoreErrorReason["_tag"]]?: number } = {
  InvalidRequest: 400,
  CommandIdReused: 422,
  StoreUnavailable: 503,
  OutcomeUnknown: 503
}

const ofError = (error: AnyError): Answer => {
  if (error._tag !== "EventStoreError") {
    return { status: statuses[error._tag], body: { _tag: error._tag, message: error.message } }
  }
  const status = statusesOfReasons[error.reason._tag]
  if (status === undefined) return internalError(error)
  return { status, body: { _tag: error.reason._tag, message: error.message } }
}

/** Answers without the details of a fault, which go to the log. */
export const internalError = (error: unknown): Answer => {
  console.error(error)
  return { status: 500, body: { _tag: "InternalError", message: "The server has failed; its log has the details" } }
}

export const ofCommand = (result: Evsrc.Accepted | Evsrc.Failed<AnyError>, status = 200): Answer =>
  result.ok ? { status, body: { version: result.receipt.version, cursor: result.cursor } } : ofError(result.error)

export const ofQuery = (result: Evsrc.Answered<unknown> | Evsrc.Failed<AnyError>): Answer =>
  result.ok ? { status: 200, body: result.value } : ofError(result.error)

export const notFound: Answer = { status: 404, body: { _tag: "RouteNotFound", message: "No such path and method" } }

/** The most bytes of the body of a request. */
export const maxBody = 1_000_000

export const tooLarge: Answer = {
  status: 413,
  body: { _tag: "BodyTooLarge", message: `The body has more than ${maxBody} bytes` }
}

export const malformed: Answer = { status: 400, body: { _tag: "MalformedJson", message: "The body is not JSON" } }
