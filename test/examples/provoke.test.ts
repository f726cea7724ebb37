/** Each stall that the example provokes shows as docs/stalls.md says. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Redacted, Schedule } from "effect"
import { EventStore, Health, Projector } from "evsrc"
import * as Provoke from "../../examples/http/Provoke.ts"
import * as Storage from "../../examples/http/Storage.ts"
import { UserEvent } from "../../examples/users/contract/UserEvent.ts"
import { UsersProjection } from "../../examples/users/UsersProjection.ts"
import { PgStores } from "../../src/pg/index.ts"
import { read, section, tableOf } from "../docs/Markdown.ts"
import { freshDatabase } from "../support/Database.ts"

const rows = tableOf(section(read("docs/stalls.md"), "## Provoke a stall"))

/** The texts of a cell: `tableOf` has removed the backticks around a single one. */
const textsOf = (cell: string) =>
  cell.includes("`")
    ? Array.from(cell.matchAll(/`([^`]+)`/g), ([, text]) => text!).filter((text) => text.includes(" "))
    : [cell]

const limits: Health.HealthOptions = { maxWait: "300 millis" }

describe.concurrent("PROVOKE", () => {
  it("has the stalls that the guide lists", () => {
    assert.deepStrictEqual(rows.map(([name]) => name), Object.keys(Provoke.stalls))
  })

  for (const [name, , seen = ""] of rows) {
    it.live(`${name} shows as the guide says`, () =>
      Effect.gen(function*() {
        const { url } = yield* freshDatabase
        const lines: Array<string> = []
        const logger = Logger.layer([
          Logger.make(({ message }) => void lines.push([message].flat().map(String).join(" ")))
        ])
        // Health looks from elsewhere, as another process would.
        const elsewhere = PgStores.layer.pipe(Layer.provideMerge(PgClient.layer({ url: Redacted.make(url) })))
        yield* Effect.gen(function*() {
          const client = PgClient.layer({ url: Redacted.make(url), applicationName: Storage.applicationName })
          const program = Layer.mergeAll(
            Projector.layer([UsersProjection], { lease: "1 second" }),
            Provoke.layer(name as Provoke.StallName)
          ).pipe(
            Layer.provideMerge(
              PgStores.layerWithoutMigrations({ connectionTimeout: "3 seconds", lockTimeout: "1 second" })
            ),
            Layer.provide(client),
            Layer.provide(logger)
          )
          yield* Layer.build(program)
          const store = yield* EventStore.EventStore
          const append = Effect.exit(store.append(UserEvent, "User-ann", [
            UserEvent.cases.UserDeactivated.make({ userId: "ann" as never })
          ]))
          const look = Effect.gen(function*() {
            yield* Effect.forkChild(append)
            const health = yield* Effect.exit(Health.of([UsersProjection], limits))
            return [...lines, ...health._tag === "Success" ? health.value.reasons : []].join("\n")
          })
          const wanted = textsOf(seen)
          yield* look.pipe(
            Effect.repeat({
              until: (found) => wanted.every((text) => found.includes(text)),
              schedule: Schedule.spaced("100 millis")
            }),
            Effect.timeout("1 minute")
          )
          assert.isNotEmpty(wanted)
        }).pipe(Effect.provide(elsewhere))
      }).pipe(Effect.scoped))
  }
})
