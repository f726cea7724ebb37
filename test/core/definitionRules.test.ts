/** What programs without types are told; with types, their definitions do not compile. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Schema } from "effect"
import { Aggregate, Command, CommandBus, Projection, Subscription } from "evsrc"

const NoteEvent = Schema.TaggedUnion({ NoteAdded: { noteId: Schema.String }, NoteRemoved: { noteId: Schema.String } })
const AddNote = Command.make("AddNote", { payload: { noteId: Schema.String, text: Schema.NonEmptyString } })
const Note = Aggregate.make("Note", {
  id: "noteId",
  state: Schema.Struct({}),
  events: NoteEvent,
  commands: [AddNote]
})

/** Passes options to a constructor as a program in JavaScript does. */
const untyped = (make: (...options: ReadonlyArray<never>) => unknown, ...options: ReadonlyArray<unknown>) => () =>
  make(...(options as ReadonlyArray<never>))

/** Runs an effect without the handlers that its type requires. */
const withoutHandler = <A, E, R>(effect: Effect.Effect<A, E, R>) => effect as Effect.Effect<A, E>

const evolve = { NoteAdded: (state: unknown) => state, NoteRemoved: (state: unknown) => state }
const { NoteRemoved: _, ...incomplete } = evolve
const decide = { AddNote: () => [] }
const key = () => "note"
const document = Schema.Struct({})

describe("a definition in a program without types", () => {
  it("rejects a decider without a function for a command, or with an unknown one", () => {
    assert.throws(
      untyped(Note.decider, { initial: {}, evolve, decide: {} }),
      `decide of "Note" has no function for the command "AddNote"`
    )
    assert.throws(
      untyped(Note.decider, { initial: {}, evolve, decide: { ...decide, addNote: () => [] } }),
      `decide of "Note" has a function for "addNote", which is not one of its commands; there are AddNote`
    )
  })

  it("rejects models of a command that the aggregate does not have", () => {
    assert.throws(
      untyped(Note.withModels, { addNote: () => ({}) }),
      `models of "Note" has a function for "addNote", which is not one of its commands; there are AddNote`
    )
    // Commands without models need none.
    untyped(Note.withModels, {})()
    untyped(Note.withModels, { AddNote: () => ({}) })()
  })

  it("rejects a decider without a function for an event, or with an unknown one", () => {
    assert.throws(
      untyped(Note.decider, { initial: {}, evolve: incomplete, decide }),
      `evolve of "Note" has no function for the event "NoteRemoved"`
    )
    assert.throws(
      untyped(Note.decider, { initial: {}, evolve: { ...evolve, NoteMoved: () => ({}) }, decide }),
      `evolve of "Note" has a function for "NoteMoved"`
    )
  })

  it("rejects a projection or a subscription that neither handles nor ignores an event", () => {
    const handle = { NoteAdded: () => Effect.void }
    for (
      const make of [
        untyped(Projection.make, "notes", { events: NoteEvent, document, key, evolve: incomplete }),
        untyped(Projection.handler, "notes", { events: NoteEvent, handle }),
        untyped(Subscription.make, "notes", { events: NoteEvent, handle })
      ]
    ) assert.throws(make, `has no function for the event "NoteRemoved"`)
  })

  it("rejects a projection or a subscription with a function for an unknown event", () => {
    const handle = { NoteAdded: () => Effect.void, NoteRemoved: Projection.ignore, NoteMoved: () => Effect.void }
    for (
      const make of [
        untyped(Projection.make, "notes", {
          events: NoteEvent,
          document,
          key,
          evolve: { ...evolve, NoteMoved: Projection.ignore }
        }),
        untyped(Projection.handler, "notes", { events: NoteEvent, handle }),
        untyped(Subscription.make, "notes", { events: NoteEvent, handle })
      ]
    ) assert.throws(make, `has a function for "NoteMoved", which is not one of its events`)
  })

  it.effect("names a command that has no handler", () =>
    Effect.gen(function*() {
      const dispatched: Effect.Effect<unknown, unknown> = withoutHandler(
        CommandBus.dispatch(AddNote, { noteId: "1", text: "a" })
      )
      const exit = yield* Effect.exit(dispatched)
      assert.include(String(Exit.isFailure(exit) && Cause.squash(exit.cause)), `no handler of "AddNote"`)
    }))

  it.effect("lists all problems of a command's payload", () =>
    Effect.gen(function*() {
      const dispatched = CommandBus.dispatch(AddNote, { noteId: 1 as never, text: "", txt: "a" } as never)
      const error = yield* Effect.flip(withoutHandler(dispatched))
      for (const part of [`command "AddNote"`, `at ["noteId"]`, `at ["text"]`, `at ["txt"]`]) {
        assert.include(error.message, part)
      }
    }))
})
