/** The options by which a user gives functions and Schemas to the library. */
import type {
  Aggregate,
  Command,
  Decision,
  ProcessManager,
  Projection,
  Query,
  QueryBus,
  Subscription
} from "../../src/index.ts"
import type * as evsrc from "../../src/index.ts"

/** The constructors of definitions, with the parameter that holds what the user defines. */
export interface Definers {
  readonly "Aggregate.make": Parameters<typeof Aggregate.make>[1]
  readonly "Aggregate.decider": Parameters<ReturnType<typeof Aggregate.make>["decider"]>[0]
  readonly "Aggregate.withModels": {
    readonly models: Parameters<ReturnType<typeof Aggregate.make>["withModels"]>[0]
  }
  readonly "Command.make": Parameters<typeof Command.make>[1]
  readonly "Decision.make": Parameters<typeof Decision.make>[1]
  readonly "Decision.model": Parameters<typeof Decision.model>[0]
  readonly "ProcessManager.make": Parameters<typeof ProcessManager.make>[1]
  readonly "ProcessManager.behaviour": Parameters<ReturnType<typeof ProcessManager.make>["behaviour"]>[0]
  readonly "Projection.make": Parameters<typeof Projection.make>[1]
  readonly "Projection.handler": Parameters<typeof Projection.handler>[1]
  readonly "Query.make": Parameters<typeof Query.make>[1]
  readonly "QueryBus.handler": { readonly handle: Parameters<typeof QueryBus.handler>[1] }
  readonly "Subscription.make": Parameters<typeof Subscription.make>[1]
}

/** For every option of every definer an entry, so that a new option does not compile without one. */
export type ForEveryOption<Entry> = {
  readonly [D in keyof Definers]: { readonly [Option in keyof Definers[D] & string]-?: Entry }
}

type AnyFunction = (...args: never) => unknown

type FunctionNames<O> = {
  [K in keyof O & string]-?: [Extract<NonNullable<O[K]>, AnyFunction>] extends [never] ? never : K
}[keyof O & string]

/** Whether a parameter is a function or has one. Schemas, services and definitions of this library have functions that are not a user's. */
type HasFunction<P> = P extends string | number | bigint | ReadonlyArray<unknown> | null | undefined ? false
  : P extends AnyFunction ? true
  : P extends { readonly pipe: unknown } | { readonly aggregate: unknown } | { readonly kind: unknown } ? false
  : P extends { readonly streamOf: unknown } | { readonly command: unknown } ? false
  : [FunctionNames<P>] extends [never] ? false
  : true

type WithFunctions<Name extends string, F> = F extends (...args: infer Args) => unknown
  ? true extends HasFunction<Args[number]> ? Name : never
  : never

type InModule<Name extends string, M> = {
  [K in keyof M & string]: WithFunctions<`${Name}.${K}`, M[K]>
}[keyof M & string]

/** The exported functions with a parameter that is a function or has one, such as `LogTransfer.export`. Classes are Schemas and services. */
export type TakesFunctions = {
  [K in keyof typeof evsrc & string]: (typeof evsrc)[K] extends AnyFunction | (abstract new(...args: never) => unknown)
    ? never
    : InModule<K, (typeof evsrc)[K]>
}[keyof typeof evsrc & string]
