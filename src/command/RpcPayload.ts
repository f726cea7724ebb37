/**
 * The payloads of commands and queries: made from the input of a caller, or decoded from JSON.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constTrue } from "effect/Function"
import * as Predicate from "effect/Predicate"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import * as SchemaParser from "effect/SchemaParser"
import { InvalidCommand, InvalidQuery } from "../core/errors.ts"
import type * as Event from "../event/Event.ts"
import * as EventPersonalData from "../event/EventPersonalData.ts"
import * as JsonCodec from "../personalData/JsonCodec.ts"
import * as PersonalFields from "../personalData/PersonalFields.ts"
import * as SchemaFailure from "../personalData/SchemaFailure.ts"
import { type AnyRpc, payloadSchema, personalOf } from "./InProcessRpc.ts"

/** An unknown field is most likely a misspelt optional one, so it is an error. The message lists every problem of the payload. */
const strict = { parseOptions: { onExcessProperty: "error", errors: "all" } } as const

/**
 * Returns the payload of a command. Fails with `InvalidCommand`, which lists all problems, when the payload does not satisfy its Schema,
 * has a field that the Schema does not have, or has a value that changes when its Schema encodes and decodes it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandPayload = <C extends AnyRpc>(
  command: C,
  payload: C["payloadSchema"]["~type.make.in"],
  /** The events of the command, for a context that may lack its handler. */
  events: ReadonlyArray<Event.Any> = []
): Effect.Effect<C["payloadSchema"]["Type"], InvalidCommand> =>
  parse(command, making, payload, events, invalidCommand(command))

/**
 * Returns the payload of a command from JSON, such as the body of a request. Fails as `commandPayload` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const commandPayloadOfJson = <C extends AnyRpc>(
  command: C,
  json: unknown
): Effect.Effect<C["payloadSchema"]["Type"], InvalidCommand> =>
  parse(command, decoding, json, [], invalidCommand(command))

const invalidCommand = ({ _tag: command }: AnyRpc) => (problems: string): InvalidCommand =>
  new InvalidCommand({ command, message: `The payload of command "${command}" is invalid: ${problems}` })

/**
 * Returns the payload of a query. Fails with `InvalidQuery`, which lists all problems, when the payload does not satisfy its Schema or
 * has a field that the Schema does not have.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queryPayload = <Q extends AnyRpc>(
  query: Q,
  payload: Q["payloadSchema"]["~type.make.in"]
): Effect.Effect<Q["payloadSchema"]["Type"], InvalidQuery> => parse(query, making, payload, [], invalidQuery(query))

/**
 * Returns the payload of a query from JSON. Fails as `queryPayload` does.
 *
 * @since 0.1.0
 * @category constructors
 */
export const queryPayloadOfJson = <Q extends AnyRpc>(
  query: Q,
  json: unknown
): Effect.Effect<Q["payloadSchema"]["Type"], InvalidQuery> => parse(query, decoding, json, [], invalidQuery(query))

const invalidQuery = ({ _tag: query }: AnyRpc) => (problems: string): InvalidQuery =>
  new InvalidQuery({ query, message: `The payload of query "${query}" is invalid: ${problems}` })

const defaulted = new WeakMap<object, ReadonlySet<string>>()

/** Remembers which fields of a payload have their values from a default. */
const rememberDefaults = (given: unknown, made: unknown): void => {
  if (given === made || !Predicate.isObject(given) || !Predicate.isObject(made)) return
  const fields = Object.keys(made).filter((field) => Reflect.get(given, field) === undefined)
  if (fields.length > 0) defaulted.set(made, new Set(fields))
}

/**
 * Returns the guard of the fields of a payload that come from the caller, not from a default.
 *
 * @since 0.1.0
 * @category guards
 */
export const givenFields = (payload: unknown): (field: string) => boolean => {
  const filledIn = Predicate.isObject(payload) ? defaulted.get(payload) : undefined
  return filledIn === undefined ? constTrue : (field) => !filledIn.has(field)
}

const notDecoded =
  `would have another value once it is encoded and decoded, as in a call over HTTP; pass ${JsonCodec.remedy}`

/**
 * Returns the command with a name. Fails with `InvalidCommand`, which lists the names, when the group has none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const commandOfName = <C extends AnyRpc>(group: Group<C>, name: string): Effect.Effect<C, InvalidCommand> =>
  ofName(group, name, (message) => new InvalidCommand({ command: name, message: `no command ${message}` }))

/**
 * Returns the query with a name. Fails with `InvalidQuery`, which lists the names, when the group has none.
 *
 * @since 0.1.0
 * @category accessors
 */
export const queryOfName = <Q extends AnyRpc>(group: Group<Q>, name: string): Effect.Effect<Q, InvalidQuery> =>
  ofName(group, name, (message) => new InvalidQuery({ query: name, message: `no query ${message}` }))

/**
 * Commands or queries by name, as an `RpcGroup` has them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Group<R extends AnyRpc> {
  readonly requests: ReadonlyMap<string, R>
}

const ofName = <R extends AnyRpc, E>(
  { requests }: Group<R>,
  name: string,
  invalid: (message: string) => E
): Effect.Effect<R, E> => {
  const found = requests.get(name)
  if (found !== undefined) return Effect.succeed(found)
  const names = Array.from(requests.keys(), (name) => JSON.stringify(name)).join(", ")
  return Effect.fail(invalid(`is named ${JSON.stringify(name)}; the names are ${names === "" ? "none" : names}`))
}

/** How to make a payload from the input of the caller. */
interface Parsing {
  /** The Schema whose fields the issues name. */
  readonly named: (schema: Schema.Top) => Schema.Constraint
  readonly run: (schema: Schema.Top, given: unknown) => Effect.Effect<unknown, SchemaIssue.Issue>
}

const making: Parsing = {
  named: (schema) => schema,
  run: (schema, given) => schema.makeEffect(given, strict)
}

/** Returns the Schema with an optional `_tag` in JSON: a command with the fields of an event also has its tag, which is constant. */
const withOptionalTag = (schema: Schema.Top): Schema.Top => {
  const { fields } = schema as { readonly fields?: Schema.Struct.Fields }
  const ast = fields?.["_tag"]?.ast
  return ast !== undefined && SchemaAST.isLiteral(ast) && schema.ast.checks === undefined
    ? Schema.Struct({ ...fields, _tag: Schema.tagDefaultOmit(ast.literal) })
    : schema
}

const decoders = new WeakMap<Schema.Top, (json: unknown) => Effect.Effect<unknown, SchemaIssue.Issue>>()

const decoding: Parsing = {
  named: Schema.toCodecJson,
  run: (schema, json) => {
    let decode = decoders.get(schema)
    if (decode === undefined) {
      const codec = Schema.toCodecJson(withOptionalTag(schema) as Schema.Codec<unknown>)
      decoders.set(schema, decode = SchemaParser.decodeUnknownEffect(codec, strict.parseOptions))
    }
    return decode(json)
  }
}

const parse = <R extends AnyRpc, E>(
  rpc: R,
  { named, run }: Parsing,
  given: unknown,
  events: ReadonlyArray<Event.Any>,
  invalid: (problems: string) => E
): Effect.Effect<R["payloadSchema"]["Type"], E> => {
  const schema = payloadSchema(rpc)
  const failWith = (message: (personal: ReadonlySet<string>) => string) =>
    Effect.flatMap(personalFields(rpc), (fields) => {
      const ofEvents = events.flatMap((set) => Array.from(EventPersonalData.fieldNamesOf(set)))
      return Effect.fail(invalid(message(new Set([...fields, ...ofEvents]))))
    })
  const accept = (valid: unknown): Effect.Effect<R["payloadSchema"]["Type"], E> => {
    const path = JsonCodec.findChange(schema)(valid)
    if (path !== undefined) {
      const failure = SchemaFailure.at(schema, path, notDecoded)
      return failWith((personal) => SchemaFailure.messageOf(failure, personal.size > 0))
    }
    rememberDefaults(given, valid)
    // The parser of the Rpc's payload Schema makes its payload; the type of the erased Schema is unknown.
    return Effect.succeed(valid as R["payloadSchema"]["Type"])
  }
  const makes = Result.try(() => run(schema, given))
  const made = Result.isSuccess(makes) ? makes.success : Effect.die(makes.failure)
  // Nearly every Schema is synchronous.
  if (Exit.isExit(made) && Exit.isSuccess(made)) return accept(made.value)
  return made.pipe(
    Effect.catch((issue) => failWith((personal) => SchemaFailure.messageWithout(named(schema), issue, personal))),
    Effect.catchDefect((defect) => {
      const failure = SchemaFailure.ofThrown("a function of its Schema", defect)
      return failWith((personal) => SchemaFailure.messageOf(failure, personal.size > 0))
    }),
    Effect.flatMap(accept)
  )
}

/** Returns the names of the personal fields of a payload, as far as the handler's events are known. */
const personalFields = (rpc: AnyRpc): Effect.Effect<ReadonlySet<string>> =>
  Effect.map(
    Effect.context<never>(),
    (context) => new Set([...PersonalFields.fieldsOf(payloadSchema(rpc)), ...personalOf(context, rpc)])
  )
