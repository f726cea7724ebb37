/**
 * An aggregate, commands and projections of people, for the suites of personal data and erasure.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as Aggregate from "../../src/aggregate/Aggregate.ts"
import * as Command from "../../src/command/Command.ts"
import { unique } from "../../src/conformance/Suite.ts"
import * as Event from "../../src/event/Event.ts"
import type { EventStore } from "../../src/eventStore/EventStore.ts"
import type { KeyStore } from "../../src/personalData/KeyStore.ts"
import * as PersonalData from "../../src/personalData/PersonalData.ts"
import * as Projection from "../../src/projection/ProjectionDefinition.ts"
import type * as ProjectionStore from "../../src/projection/ProjectionStore.ts"

export type Stores = EventStore | ProjectionStore.ProjectionStore | KeyStore

export const ofPerson = { subject: "personId" }
const Address = Schema.Struct({ street: Schema.String, since: Schema.DateTimeUtc })

export const PersonEvent = Schema.TaggedUnion({
  Registered: {
    personId: Schema.String,
    group: Schema.String,
    name: PersonalData.field(Schema.NonEmptyString, ofPerson),
    address: Schema.optionalKey(PersonalData.field(Address, ofPerson))
  },
  Renamed: { personId: Schema.String, group: Schema.String, name: PersonalData.field(Schema.NonEmptyString, ofPerson) },
  Introduced: {
    personId: Schema.String,
    group: Schema.String,
    friends: Schema.Array(
      Schema.Struct({ friendId: Schema.String, nick: PersonalData.field(Schema.String, { subject: "friendId" }) })
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
  name: Schema.optionalKey(PersonalData.field(Schema.NonEmptyString, ofPerson)),
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

/** The members of each group: documents with the personal data of several subjects. */
export const groups = <L extends Projection.Lifecycle>(lifecycle: L) =>
  Projection.make(unique("groups"), {
    partitionBy: "stream",
    events: PersonEvent,
    document: Schema.Struct({
      size: Schema.Int,
      members: Schema.Array(
        Schema.Struct({ personId: Schema.String, name: PersonalData.field(Schema.NonEmptyString, ofPerson) })
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
