/** Everything that a program shows of itself: log lines, spans, and what is stored. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Formatter from "effect/Formatter"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as SqlClient from "effect/sql/SqlClient"
import * as Tracer from "effect/Tracer"
import { inspect } from "node:util"
import { internals } from "../../src/core/internals.ts"
import * as Position from "../../src/core/Position.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import type { StoredTextSource } from "../../src/projection/ProjectionStoreDriver.ts"

/** Returns a value in every form in which a program may print it. */
export const allForms = (value: unknown): string => {
  const forms: Array<() => string> = [
    () => String(value),
    () => inspect(value, { depth: 30, showHidden: false, maxArrayLength: null, maxStringLength: null, getters: true }),
    () => Inspectable.toStringUnknown(value),
    () => Formatter.formatJson(value),
    () => value instanceof Error ? `${value.name} ${value.message} ${value.stack}` : "",
    () => Cause.isCause(value) ? `${Cause.pretty(value)} ${allForms(Cause.prettyErrors(value))}` : "",
    () => Exit.isExit(value) && Exit.isFailure(value) ? allForms(value.cause) : ""
  ]
  return forms.map((form) => {
    try {
      return form()
    } catch (error) {
      return `not printable: ${String(error)}`
    }
  }).join("\n")
}

export interface Traces {
  /** A text with everything that was logged and traced so far. */
  readonly text: () => string
  readonly layer: Layer.Layer<never>
}

/** Returns a logger of every level and a tracer that keep what they receive, as a layer. */
export const make = (): Traces => {
  const logged: Array<string> = []
  const spans: Array<Tracer.NativeSpan> = []
  const logger = Logger.make(({ cause, fiber, message }) => {
    const annotations = fiber.getRef(References.CurrentLogAnnotations)
    logged.push([message, cause, annotations].map(allForms).join("\n"))
  })
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const spanText = ({ attributes, events, links, name, status }: Tracer.NativeSpan) =>
    allForms([name, Object.fromEntries(attributes), events, links.map(({ attributes }) => attributes)])
    // No exporter shows what a span has returned.
    + (status._tag === "Ended" && Exit.isFailure(status.exit) ? allForms(status.exit) : "")
  return {
    text: () => [...logged, ...spans.map(spanText)].join("\n"),
    layer: Layer.mergeAll(
      Logger.layer([logger]),
      Layer.succeed(References.MinimumLogLevel, "All"),
      Layer.succeed(Tracer.Tracer, tracer)
    )
  }
}

/** Stored values are plain data: it prints them in one form. */
const plainText = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) => typeof part === "bigint" ? String(part) : part)

/** Returns all text that the stores hold, of every table where there is a database. */
export const stored = Effect.gen(function*() {
  const log = (yield* EventStore.EventStore)[internals].driver
  const { driver } = (yield* ProjectionStore.ProjectionStore)[internals]
  const texts: Array<string> = [
    plainText((yield* log.readStored({ after: Position.start, limit: 100_000 })).events),
    plainText(yield* log.snapshots.page(undefined, 10_000))
  ]
  for (const source of ["documents", "parked", "parkingLog"] satisfies ReadonlyArray<StoredTextSource>) {
    texts.push(plainText(yield* driver.storedTexts({ in: source, limit: 10_000 })))
  }
  const sql = Option.getOrUndefined(yield* Effect.serviceOption(SqlClient.SqlClient))
  if (sql === undefined) return texts.join("\n")
  const tables = yield* sql<{ readonly name: string }>`
    select format('%I.%I', table_schema, table_name) as name from information_schema.tables where table_schema like 'evsrc%'`
  for (const { name } of tables) {
    const rows = yield* sql.unsafe<{ readonly row: string }>(`select t::text as row from ${name} as t`)
    texts.push(rows.map(({ row }) => row).join("\n"))
  }
  return texts.join("\n")
})
