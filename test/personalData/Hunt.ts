/** What the cases of a hunt share. */
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import type * as Scope from "effect/Scope"
import type { Stores } from "./PersonalDataFixtures.ts"

/** What a case gets: ways to fail, and to try an effect that may fail. */
export interface Hunt {
  /** Throws with words that quote the value. */
  readonly boom: (value: unknown) => never
  /** Runs an effect, and keeps what its failure shows. */
  readonly attempt: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<Exit.Exit<A, E>, never, R>
  readonly person: string
  readonly group: string
}

export type Program = (hunt: Hunt) => Effect.Effect<unknown, unknown, Stores | Scope.Scope>

/** A Schema whose functions fail on every value but `good`. */
export const failing = (hunt: Hunt, where: "decode" | "encode" | "check"): Schema.Codec<string, string> =>
  where === "check"
    ? Schema.String.check(Schema.makeFilter((value) => `not ${value.toUpperCase()}`))
    : Schema.String.pipe(Schema.decodeTo(Schema.String, {
      decode: SchemaGetter.transform((value: string) => where === "decode" ? hunt.boom(value) : value),
      encode: SchemaGetter.transform((value: string) => where === "encode" ? hunt.boom(value) : value)
    }))
