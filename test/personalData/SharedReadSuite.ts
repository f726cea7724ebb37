/**
 * The runtime suite of handlers that share what they read with others: each of them is taken to have read it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Case, equal, test, unique } from "../../src/conformance/Suite.ts"
import { internals } from "../../src/core/internals.ts"
import * as Event from "../../src/event/Event.ts"
import type { RecordedEvent } from "../../src/event/RecordedEvent.ts"
import * as EventBus from "../../src/eventStore/EventBus.ts"
import * as EventStore from "../../src/eventStore/EventStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Subscription from "../../src/subscription/Subscription.ts"
import { upTo } from "../support/AccountFixtures.ts"
import { parkedKeys } from "../support/parked.ts"
import * as Traces from "../support/Traces.ts"
import type { Stores } from "./PersonalDataFixtures.ts"
import { requireNoSecret, secret } from "./WithheldSuite.ts"

const Person = Schema.TaggedUnion({
  Joined: { person: Schema.String, name: PersonalData.field(Schema.String, { subject: "person" }) }
})
const Question = Schema.TaggedUnion({ Asked: { person: Schema.String } }).pipe(Event.tags({ person: "person" }))

class Refused extends Schema.TaggedError<Refused>()("Refused", { text: Schema.String }) {}

const questions = 12

/** Runs a subscription whose handlers read a person at the same time, quote the name, and are parked. */
const quoting = Effect.fnUntraced(function*(
  person: string,
  read: Effect.Effect<Option.Option<RecordedEvent<typeof Person.Type>>>
) {
  const traces = Traces.make()
  yield* Effect.gen(function*() {
    const store = yield* EventStore.EventStore
    for (const n of upTo(questions)) {
      yield* store.append(Question, `${person}-${n}`, [Question.cases.Asked.make({ person })])
    }
    const subscription = Subscription.make(unique("greeter"), {
      events: Question,
      where: { tags: [Event.tag("person", person)] },
      partitions: 4,
      parks: ["Refused"],
      retry: Schedule.recurs(0),
      handle: () =>
        Effect.flatMap(
          read,
          (found) =>
            Effect.fail(new Refused({ text: `cannot greet ${String(Option.getOrUndefined(found)?.event.name)}` }))
        )
    })
    const parked = yield* Effect.repeat(parkedKeys(subscription), {
      until: (parked) => parked.length === questions,
      schedule: Schedule.spaced("10 millis")
    }).pipe(Effect.timeout("1 minute"), Effect.provide(Subscription.layer([subscription])))
    equal(
      parked.filter(({ error }) => !error.includes("cannot greet [personal data]")).map(({ error }) => error),
      [],
      "the other words"
    )
    requireNoSecret(yield* Traces.stored, "what is stored")
  }).pipe(Effect.provide(traces.layer))
  requireNoSecret(traces.text(), "logs and spans")
})

/**
 * The cases of shared reads.
 *
 * @since 0.1.0
 * @category suites
 */
export const cases: ReadonlyArray<Case<Stores>> = [
  test("a handler that shares a read of the log with others quotes no name", function*() {
    const { [internals]: { driver, keys } } = yield* EventStore.EventStore
    let reads = 0
    yield* Effect.scoped(Effect.gen(function*() {
      // The turn of a follower takes long enough that others ask for the same page before the read.
      const asFollower = <A, E, R>(read: Effect.Effect<A, E, R>) => {
        reads++
        return Effect.delay(read, "50 millis")
      }
      const store = yield* EventStore.make({ ...driver, asFollower }, keys)
      const person = unique("p")
      const { position } = yield* store.append(Person, person, [Person.cases.Joined.make({ person, name: secret })])
      const after = yield* store.append(Person, person, [Person.cases.Joined.make({ person, name: secret })])
      equal(after.position > position, true, "the order")
      yield* quoting(
        person,
        Effect.orDie(Stream.runHead(store.subscribe(Person, { after: position })))
      )
    }))
    equal(reads < questions, true, "whether a read was shared")
  }),

  test("a handler that listens to the event bus quotes no name", function*() {
    const store = yield* EventStore.EventStore
    const person = unique("p")
    yield* Effect.gen(function*() {
      const bus = yield* EventBus.EventBus
      yield* quoting(
        person,
        Effect.orDie(Effect.scoped(Effect.gen(function*() {
          const heard = yield* bus.listen(Person)
          yield* store.append(Person, person, [Person.cases.Joined.make({ person, name: secret })])
          return yield* Stream.runHead(Stream.filter(heard, ({ event }) => event.person === person))
        })))
      )
    }).pipe(Effect.provide(EventBus.layer()))
  })
]
