/**
 * People, and what a register knows about them, for the conformance suites of personal data and its erasure.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Command from "../domain/Command.ts"
import * as Event from "../domain/Event.ts"
import * as Personal from "../domain/Personal.ts"
import * as Projection from "../domain/Projection.ts"
import * as Aggregate from "../runtime/Aggregate.ts"
import type { EventStore } from "../store/EventStore.ts"
import type { KeyStore } from "../store/KeyStore.ts"
import type * as ProjectionStore from "../store/ProjectionStore.ts"
import { unique } from "./Suite.ts"

export type Stores = EventStore | ProjectionStore.ProjectionStore | KeyStore

export const ofPerson = { subject: "personId" }
const Address = Schema.Struct({ street: Schema.String, since: Schema.DateTimeUtc })

export const PersonEvent = Schema.TaggedUnion({
  Registered: {
    personId: Schema.String,
    group: Schema.String,
    name: Personal.field(Schema.NonEmptyString, ofPerson),
    address: Schema.optionalKey(Personal.field(Address, ofPerson))
  },
  Renamed: { personId: Schema.String, group: Schema.String, name: Personal.field(Schema.NonEmptyString, ofPerson) },
  Introduced: {
    personId: Schema.String,
    group: Schema.String,
    friends: Schema.Array(
      Schema.Struct({ friendId: Schema.String, nick: Personal.field(Schema.String, { subject: "friendId" }) })
    )
  }
}).pipe(Event.tags({ person: "personId" }))

export const Register = Command.make("RegisterPerson", {
  payload: { personId: Schema.String, group: Schema.String, name: Schema.NonEmptyString }
})
export const Rename = Command.make("RenamePerson", {
  payload: { personId: Schema.String, name: Schema.NonEmptyString }
})

const PersonState = Schema.Struct({
  personId: Schema.String,
  group: Schema.String,
  name: Schema.optionalKey(Personal.field(Schema.NonEmptyString, ofPerson)),
  names: Schema.Int
})

export const Person = Aggregate.make("Person", {
  id: "personId",
  state: PersonState,
  events: PersonEvent,
  commands: [Register, Rename]
})

type Behaviour = Parameters<typeof Person.decider>[0]

export const behaviour: Behaviour = {
  initial: { personId: "", group: "", names: 0 },
  evolve: {
    Registered: (_, e) => ({ personId: e.personId, group: e.group, name: e.name, names: 1 }),
    Renamed: (s, e) => ({ ...s, name: e.name, names: s.names + 1 }),
    Introduced: (s) => s
  },
  decide: {
    RegisterPerson: (s, c) => s.names > 0 ? [] : [PersonEvent.cases.Registered.make(c)],
    RenamePerson: (s, c) => [PersonEvent.cases.Renamed.make({ ...c, group: s.group })]
  }
}

export const PersonDecider = Person.decider(behaviour)

export const people = Aggregate.layer(PersonDecider)

/** Who is in a group: documents with the personal data of several subjects. */
export const groups = <L extends Projection.Lifecycle>(lifecycle: L) =>
  Projection.make(unique("groups"), {
    events: PersonEvent,
    document: Schema.Struct({
      size: Schema.Int,
      members: Schema.Array(
        Schema.Struct({ personId: Schema.String, name: Personal.field(Schema.NonEmptyString, ofPerson) })
      )
    }),
    index: ["size"],
    lifecycle,
    key: (event) => event.group,
    evolve: {
      Registered: (group, { name, personId }) => {
        const members = [...group?.members ?? [], { personId, name }]
        return { size: members.length, members }
      },
      Renamed: (group, { name, personId }) =>
        group &&
        { ...group, members: group.members.map((one) => one.personId === personId ? { personId, name } : one) },
      Introduced: Projection.ignore
    }
  })
