/**
 * The runtime suite of words that quote personal data: they are stored, logged and traced nowhere.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { type Case, equal, isAtLeast, test, unique } from "../../src/conformance/Suite.ts"
import { EventStoreError, InvalidRequest, StoreUnavailable } from "../../src/core/errors.ts"
import * as Erasure from "../../src/erasure/Erasure.ts"
import * as Event from "../../src/event/Event.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as Parking from "../../src/operations/Parking.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import * as ProjectionStore from "../../src/projection/ProjectionStore.ts"
import * as Projector from "../../src/projection/Projector.ts"
import { parkedKeys } from "../support/parked.ts"
import * as Traces from "../support/Traces.ts"
import type { Stores } from "./PersonalDataFixtures.ts"

/** Two words that occur nowhere else, so that even a part of the name is found. */
export const secret = `Quorxal "Q" Vembrith`

/**
 * Fails when a text has a part of the name.
 *
 * @since 0.1.0
 * @category combinators
 */
export const requireNoSecret = (text: string, what: string): void => {
  const at = text.search(/quorxal|vembrith/i)
  equal(at < 0 ? "" : text.slice(Math.max(0, at - 300), at + 100), "", `the name in ${what}`)
}

const ofPerson = { subject: "person" }

const GroupEvent = Schema.TaggedUnion({
  Joined: { group: Schema.String, person: Schema.String, name: PersonalData.field(Schema.String, ofPerson) },
  Resized: { group: Schema.String, size: Schema.Int },
  Asked: { group: Schema.String }
}).pipe(Event.tags({ group: "group" }))
const { Asked, Joined, Resized } = GroupEvent.cases

/** The ways in which `evolve` may quote the document. */
const throws: Readonly<Record<string, (document: unknown) => unknown>> = {
  "an error": (document) => new Error(`not for ${JSON.stringify(document)}`, { cause: document }),
  "a text": (document) => `not for ${JSON.stringify(document)} ${JSON.stringify(document)?.toUpperCase()}`,
  "the document": (document) => document,
  "an error of the store": (document) =>
    new EventStoreError({ reason: new InvalidRequest({ message: JSON.stringify(document) }) }),
  "an unavailable store": (document) =>
    new EventStoreError({ reason: new StoreUnavailable({ message: JSON.stringify(document), cause: document }) })
}

const groupsOf = (partitionBy: "stream" | "document", thrown: (document: unknown) => unknown) =>
  Projection.make(unique("groups"), {
    events: GroupEvent,
    partitionBy,
    document: Schema.Struct({
      size: Schema.Int.check(Schema.isGreaterThanOrEqualTo(0)),
      members: Schema.Array(
        Schema.Struct({ person: Schema.String, name: PersonalData.field(Schema.String, ofPerson) })
      )
    }),
    key: ({ group }) => group,
    evolve: {
      Joined: (group, { name, person }) => ({ size: 1, members: [...group?.members ?? [], { person, name }] }),
      Resized: (group, { size }) => group && { ...group, size },
      Asked: (group) => {
        throw thrown(group)
      }
    }
  })

/** The sequence of the report: the document is invalid when `evolve` quotes it, and valid again at the end of the batch. */
const invalidForAWhile = (["stream", "document"] as const).flatMap((partitionBy) =>
  Object.entries(throws).map(([what, thrown]) =>
    test(`an invalid document that evolve quotes as ${what} is kept nowhere, by ${partitionBy}`, function*() {
      const traces = Traces.make()
      yield* Effect.gen(function*() {
        const store = yield* EventStore.EventStore
        const [person, group] = [unique("p"), unique("g")]
        const projection = groupsOf(partitionBy, thrown)
        const batch = [
          Joined.make({ group, person, name: secret }),
          Resized.make({ group, size: -1 }),
          Asked.make({ group }),
          Resized.make({ group, size: 2 })
        ]
        for (const event of batch) yield* store.append(GroupEvent, unique("s"), [event])
        const { awaitPosition } = yield* ProjectionStore.ProjectionStore
        const end = yield* store.head
        yield* Effect.gen(function*() {
          yield* awaitPosition(projection, end, "1 minute")
          const parked = yield* parkedKeys(projection)
          isAtLeast(parked.length, 1, "the number of parked keys")
          for (const { key } of parked) {
            yield* Parking.retry(projection, key)
            yield* Parking.skip(projection, key, { reason: "test" })
          }
        }).pipe(Effect.provide(Projector.layer([projection])))
        requireNoSecret(yield* Traces.stored, "what is stored")
        const { plaintext } = yield* Erasure.scan(person)
        equal(plaintext, [], "the plaintext")
        yield* Erasure.erase(person)
        requireNoSecret(yield* Traces.stored, "what is stored after the erasure")
        const document = yield* ProjectionStore.get(projection, group)
        if (partitionBy === "stream") {
          equal<unknown>(
            Option.map(document, ({ members }) => members.map(({ name }) => name)),
            Option.some([{ _tag: "Erased", subject: person }]),
            "the names"
          )
        }
      }).pipe(Effect.provide(traces.layer))
      requireNoSecret(traces.text(), "logs and spans")
    })
  )
)

/**
 * The cases of withheld words.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [...invalidForAWhile]
