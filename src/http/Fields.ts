/**
 * Where the fields of a payload are in a request: in the path, and in the body or the query string.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as InProcessRpc from "../command/InProcessRpc.ts"

/**
 * The names of the parameters in a path such as `/orders/:orderId`.
 *
 * @since 0.1.0
 * @category models
 */
export type PathNames<Path extends string> = Path extends `${string}:${infer Rest}`
  ? Rest extends `${infer Name}/${infer Tail}` ? Name | PathNames<`/${Tail}`> : Rest
  : never

/**
 * The fields of a payload under their names in the request.
 *
 * @since 0.1.0
 * @category models
 */
export type Renamed<Payload, Names> = {
  readonly [K in keyof Payload as K extends keyof Names ? Names[K] & string : K]: Payload[K]
}

/**
 * The fields in the path.
 *
 * @since 0.1.0
 * @category models
 */
export type InPath<Wire, Path extends string> = Pick<Wire, Extract<PathNames<Path>, keyof Wire>>

/**
 * The fields that are not in the path. A request may omit the generated ones.
 *
 * @since 0.1.0
 * @category models
 */
export type Others<Wire, Path extends string, Generated extends PropertyKey> =
  & Omit<Wire, PathNames<Path> | Generated>
  & { readonly [K in Exclude<Extract<Generated, keyof Wire>, PathNames<Path>>]?: Wire[K] }

/**
 * The type of a path with a parameter that is not a field of the payload, so that the compiler names the parameter.
 *
 * @since 0.1.0
 * @category models
 */
export interface UnknownPathParameter<Name> {
  readonly "~the payload has no such field": Name
}

/**
 * The constraint on a path: `unknown` when each of its parameters is a field of the payload.
 *
 * @since 0.1.0
 * @category models
 */
export type PathOf<Wire, Path extends string> = [Exclude<PathNames<Path>, keyof Wire>] extends [never] ? unknown
  : UnknownPathParameter<Exclude<PathNames<Path>, keyof Wire>>

/**
 * The options for the fields of a payload.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly path: string
  readonly rename?: Readonly<Record<string, string | undefined>> | undefined
  readonly fields?: Readonly<Record<string, Schema.Constraint | undefined>> | undefined
  readonly generate?: string | undefined
  /** The path of the resource that a command creates. */
  readonly location?: string | undefined
}

/**
 * The fields of a payload by their place in a request.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fields {
  readonly path: Schema.Struct.Fields | undefined
  readonly others: Schema.Struct.Fields | undefined
  /** Returns the payload of a request: the fields under their own names. */
  readonly payloadOf: (...parts: ReadonlyArray<unknown>) => Record<string, unknown>
  /** Returns a path with the values of the fields that it names. */
  readonly inPath: (path: string, payload: unknown) => string
}

const namesIn = (path: string): ReadonlyArray<string> => Array.from(path.matchAll(/:([^/]+)/g), ([, name]) => name!)

const fieldsOf = (rpc: InProcessRpc.AnyRpc): Schema.Struct.Fields => {
  const schema = InProcessRpc.payloadSchema(rpc)
  if (Predicate.hasProperty(schema, "fields") && Predicate.isObject(schema.fields)) {
    // `Command.make` and `Query.make` make a struct of the fields.
    return schema.fields as Schema.Struct.Fields
  }
  throw new Error(`evsrc: the payload of "${rpc._tag}" is not a struct; define it by Command.make or Query.make`)
}

const nonEmpty = (fields: Schema.Struct.Fields): Schema.Struct.Fields | undefined =>
  Object.keys(fields).length === 0 ? undefined : fields

/** Throws when a parameter of a path is not a field. */
const rejectUnknown = (where: string, names: ReadonlyArray<string>, fields: ReadonlyMap<string, string>): void => {
  const unknown = names.filter((name) => !fields.has(name))
  if (unknown.length === 0) return
  const listed = (all: Iterable<string>) => Array.from(all, (name) => `"${name}"`).join(", ")
  throw new Error(
    `evsrc: ${where}: the payload has no field ${listed(unknown)}; its fields are ${listed(fields.keys())}`
  )
}

/**
 * Returns where the fields of a command or a query are in a request. Throws when a parameter of the path, or of the location, is not a field, or when
 * two fields have the same name.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  rpc: InProcessRpc.AnyRpc,
  options: Options,
  /** Names that the endpoint itself uses. */
  reserved: ReadonlyArray<string> = []
): Fields => {
  const all = fieldsOf(rpc)
  const wireName = (name: string) => options.rename?.[name] ?? name
  const own = new Map<string, string>()
  for (const name of Object.keys(all)) {
    const wire = wireName(name)
    const other = own.get(wire)
    if (other !== undefined || reserved.includes(wire)) {
      throw new Error(
        `evsrc: "${rpc._tag}" at ${options.path}: the name "${wire}" of the field "${name}" is ${
          other === undefined ? "reserved for the endpoint" : `also that of the field "${other}"`
        }; give the field another name by \`rename: { ${name}: "…" }\``
      )
    }
    own.set(wire, name)
  }
  const inPath = namesIn(options.path)
  rejectUnknown(`"${rpc._tag}" at ${options.path}`, inPath, own)
  if (options.location !== undefined) {
    rejectUnknown(`"${rpc._tag}" with the location ${options.location}`, namesIn(options.location), own)
  }
  const schemaOf = (name: string): Schema.Constraint => {
    const schema = options.fields?.[name] ?? all[name]!
    return name === options.generate ? Schema.optionalKey(schema) : schema
  }
  const select = (wanted: (wire: string) => boolean) =>
    nonEmpty(Object.fromEntries(
      Array.from(own).filter(([wire]) => wanted(wire)).map(([wire, name]) => [wire, schemaOf(name)])
    ))
  return {
    path: select((wire) => inPath.includes(wire)),
    others: select((wire) => !inPath.includes(wire)),
    payloadOf: (...parts) =>
      Object.fromEntries(
        parts.flatMap((part) => Object.entries(Object(part))).flatMap(([wire, value]) => {
          const name = own.get(wire)
          return name === undefined ? [] : [[name, value]]
        })
      ),
    inPath: (path, payload) =>
      path.replaceAll(/:([^/]+)/g, (_, wire: string) => {
        const name = own.get(wire) ?? wire
        return encodeURIComponent(String(Reflect.get(Object(payload), name)))
      })
  }
}
