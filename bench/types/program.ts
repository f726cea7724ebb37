/**
 * The program that the benchmark checks: aggregates of 12 events and 10 commands, each with a projection and a query, in a module of
 * their own, as a user writes them.
 */

const events = 12
const commands = 10

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index)

/** Which parts of each aggregate's module are written; what is left out tells what it costs. */
export interface Parts {
  readonly aggregate: boolean
  readonly layers: boolean
  readonly projection: boolean
  readonly dispatch: boolean
}

export const allParts: Parts = { aggregate: true, layers: true, projection: true, dispatch: true }

const definitions = (name: string) => `
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { Aggregate, Command, CommandBus, EventStore, Projection, ProjectionStore, Projector, Query, QueryBus } from "evsrc"

export const Id = Schema.String.pipe(Schema.brand("${name}Id"))
export class Missing extends Schema.TaggedError<Missing>()("${name}Missing", { id: Id }) {}
export class Rejected extends Schema.TaggedError<Rejected>()("${name}Rejected", { id: Id, reason: Schema.String }) {}

export const Events = Schema.TaggedUnion({
${
  numbers(events).map((n) =>
    `  ${name}Happened${n}: { id: Id, name: Schema.NonEmptyString, amount${n}: Schema.Int, at: Schema.DateTimeUtc }`
  ).join(",\n")
}
})

${
  numbers(commands).map((n) =>
    `export const Do${n} = Command.make("${name}Do${n}", {
  payload: { id: Id, name: Schema.NonEmptyString, amount${n}: Schema.Int, at: Schema.DateTimeUtc },
  error: ${n % 2 === 0 ? "Missing" : "Schema.Union([Missing, Rejected])"}
})`
  ).join("\n")
}
`

const aggregate = (name: string) => `
export const State = Schema.TaggedUnion({ Absent: {}, Present: { name: Schema.String, total: Schema.Int } })
export const ${name} = Aggregate.make("${name}", {
  id: "id",
  state: State,
  events: Events,
  commands: [${numbers(commands).map((n) => `Do${n}`).join(", ")}]
})
export const ${name}Decider = ${name}.decider({
  initial: { _tag: "Absent" },
  evolve: {
${
  numbers(events).map((n) =>
    `    ${name}Happened${n}: (s, e) => ({ _tag: "Present", name: e.name, total: (s._tag === "Present" ? s.total : 0) + e.amount${n} })`
  ).join(",\n")
}
  },
  decide: {
${
  numbers(commands).map((n) =>
    `    ${name}Do${n}: (s, c) => s._tag === "Present" ? [Events.cases.${name}Happened${n}.make(c)] : Result.fail(new Missing({ id: c.id }))`
  ).join(",\n")
}
  }
})
`

const projection = (name: string) => `
export const View = Schema.Struct({ id: Id, name: Schema.String, total: Schema.Int })
export const Views = Projection.make("${name}", {
  events: Events,
  document: View,
  index: ["name"],
  key: (e) => e.id,
  evolve: {
${
  numbers(events).map((n) =>
    n === events - 1
      ? `    ${name}Happened${n}: Projection.ignore`
      : `    ${name}Happened${n}: (view, e) => ({ id: e.id, name: e.name, total: (view?.total ?? 0) + e.amount${n} })`
  ).join(",\n")
}
  }
})
export const Get = Query.make("${name}Get", { payload: { id: Id }, success: View, error: Missing })
export const GetHandler = QueryBus.handler(Get, ({ id }) =>
  Effect.flatMap(ProjectionStore.get(Views, id), Option.match({
    onNone: () => Effect.fail(new Missing({ id })),
    onSome: Effect.succeed
  })))
`

const layers = (name: string, parts: Parts) => `
export const ${name}Layer = ${
  parts.projection
    ? `Layer.mergeAll(Aggregate.layer(${name}Decider), Projector.layer([Views]), GetHandler)`
    : `Aggregate.layer(${name}Decider)`
}
`

const dispatch = (parts: Parts) => `
export const program = Effect.gen(function*() {
  const id = Id.make("1")
  const at = yield* Effect.succeed(Schema.DateTimeUtc.make(0 as never))
${
  numbers(commands).map((n) =>
    `  const r${n} = yield* CommandBus.dispatch(Do${n}, { id, name: "n", amount${n}: ${n}, at })`
  ).join("\n")
}
${
  parts.projection
    ? `  const view = yield* QueryBus.ask(Get, { id }, { after: r0 })\n  return view.name`
    : "  return r0"
}
})
`

/** The modules of a program by file name. */
export const modules = (aggregates: number, parts: Parts = allParts): ReadonlyMap<string, string> => {
  const names = numbers(aggregates).map((n) => `Thing${n}`)
  const files = new Map(names.map((name) => [
    `${name}.ts`,
    [
      definitions(name),
      parts.aggregate ? aggregate(name) : "",
      parts.projection ? projection(name) : "",
      parts.layers ? layers(name, parts) : "",
      parts.dispatch ? dispatch(parts) : ""
    ].join("")
  ]))
  if (parts.layers && parts.dispatch && parts.projection) {
    files.set(
      "main.ts",
      `
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { EventStore, ProjectionStore } from "evsrc"
${names.map((name) => `import * as ${name} from "./${name}.ts"`).join("\n")}

const layer = Layer.mergeAll(
${names.map((name) => `  ${name}.${name}Layer`).join(",\n")}
).pipe(Layer.provideMerge(Layer.merge(EventStore.layerMemory, ProjectionStore.layerMemory)))

export const done: Promise<void> = Effect.runPromise(Effect.gen(function*() {
${names.map((name) => `  yield* ${name}.program`).join("\n")}
}).pipe(Effect.provide(layer)))
`
    )
  }
  return files
}
