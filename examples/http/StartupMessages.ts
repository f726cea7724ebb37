/**
 * The messages at startup: the URLs of the program, or one line that says why it cannot start.
 */
import type * as HttpServerError from "effect/http/HttpServerError"
import * as NetAddress from "effect/net/NetAddress"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { SqlError } from "effect/sql/SqlError"
import type { EventStoreError } from "evsrc"
import type { PgliteError } from "evsrc/pglite"
import type { Settings } from "./Settings.ts"

export class CannotStart extends Schema.TaggedError<CannotStart>()("CannotStart", { message: Schema.String }) {}

type StartError = HttpServerError.ServeError | SqlError | EventStoreError | PgliteError

const urlOf = (address: NetAddress.SocketAddress): string =>
  NetAddress.formatUrlUnsafe(address).replace(/\/\/(127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?=:|$)/, "//localhost")

/** Returns the server and database without the password. */
const nameOf = (databaseUrl: Redacted.Redacted): string => {
  const { host, pathname } = new URL(Redacted.value(databaseUrl))
  return `${host}${pathname}`
}

export const welcome = (address: NetAddress.SocketAddress, { databaseUrl, dataDir }: Settings): string => {
  const url = urlOf(address)
  const store = databaseUrl === undefined
    ? `an embedded PostgreSQL with its data in ${dataDir}`
    : `the PostgreSQL server ${nameOf(databaseUrl)}`
  const json = `-H 'content-type: application/json'`
  return `
Users and orders, an example of evsrc, on ${store}

  API      ${url}/users
  orders   ${url}/orders
  docs     ${url}/docs
  health   ${url}/health
  metrics  ${url}/metrics

Try:

  curl -i ${url}/users ${json} -d '{"userId":"ann","email":"ann@example.com","name":"Ann"}'
  curl ${url}/users/ann
  curl -X PATCH ${url}/users/ann ${json} -H 'if-match: 1' -d '{"name":"Ann Lee"}'
  curl ${url}/users/ann/history
  curl '${url}/users/ann?atVersion=1'
  curl '${url}/users/ann/diff?from=version:1'
  curl ${url}/users/ann/what-if ${json} -d '{"at":"version:1","command":{"_tag":"DeactivateUser"}}'
  curl '${url}/users?status=active'

An order is shipped when it is paid, and cancelled when it is not paid in time:

  curl ${url}/stock/lamp/deliveries ${json} -d '{"quantity":5}'
  curl ${url}/orders ${json} -d '{"orderId":"o-1","product":"lamp","quantity":1,"amount":900,"address":"Main Street 1","payWithin":60}'
  curl ${url}/orders/o-1/payment ${json} -d '{"amount":900}'
  curl -X POST ${url}/orders/o-1/shipment
  curl ${url}/orders/o-1
  curl ${url}/orders/o-1/fulfilment

Press Ctrl-C to stop.
`
}

/** Returns in one line why the program cannot start. */
export const reason = (error: StartError, { databaseUrl, dataDir, host, port }: Settings): string => {
  switch (error._tag) {
    case "ServeError":
      return Predicate.hasProperty(error.cause, "code") && error.cause.code === "EADDRINUSE"
        ? `port ${port} on ${host} is in use; stop what listens there, or choose another with PORT`
        : `cannot listen on ${host}, port ${port}: ${oneLine(messageOf(error.cause))}`
    case "SqlError":
    case "EventStoreError":
      return databaseUrl === undefined
        ? `cannot use the database in ${dataDir}: ${oneLine(detailOf(error))}`
        : `cannot use the database of DATABASE_URL, ${nameOf(databaseUrl)}: ${oneLine(detailOf(error))}`
    case "PgliteError": {
      const cause = error.cause === undefined ? "" : `: ${messageOf(error.cause)}`
      return `${oneLine(error.message + cause)}; EVSRC_DATA chooses another folder, DATABASE_URL a server`
    }
  }
}

/** The driver's own words: a `SqlError` itself says only what was being done. */
const detailOf = (error: SqlError | EventStoreError): string =>
  error._tag === "SqlError" ? `${error.message}: ${messageOf(error.reason.cause)}` : error.message

const messageOf = (error: unknown): string =>
  Predicate.hasProperty(error, "message") && Predicate.isString(error.message) ? error.message : String(error)

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, "; ").trim()
