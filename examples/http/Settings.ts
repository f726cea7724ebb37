/**
 * What the environment says.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"

/**
 * - `PORT`: 3000 by default; 0 takes a free one
 * - `HOST`: the address to listen on; 127.0.0.1 by default, which only this machine reaches
 * - `DATABASE_URL`: a PostgreSQL server; without it PostgreSQL runs within this process
 * - `EVSRC_DATA`: the folder where that one keeps its data; `.data` by default
 */
export interface Settings {
  readonly port: number
  readonly host: string
  readonly databaseUrl: Redacted.Redacted | undefined
  readonly dataDir: string
}

export class InvalidSetting
  extends Schema.TaggedError<InvalidSetting>()("InvalidSetting", { message: Schema.String })
{}

/** A variable that is set to nothing counts as not set, as in `DATABASE_URL= npm start`. */
const variable = (name: string) =>
  Config.String(name).pipe(Config.option, Config.map(Option.filter((text) => text !== "")))

export const load: Effect.Effect<Settings, InvalidSetting | Config.ConfigError> = Effect.gen(function*() {
  const port = Option.getOrElse(yield* variable("PORT"), () => "3000")
  if (!/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    return yield* new InvalidSetting({
      message: `PORT must be a whole number from 0 to 65535, not ${JSON.stringify(port)}`
    })
  }
  const databaseUrl = Option.getOrUndefined(yield* variable("DATABASE_URL"))
  if (databaseUrl !== undefined && !/^postgres(ql)?:$/.test(URL.parse(databaseUrl)?.protocol ?? "")) {
    return yield* new InvalidSetting({
      message: "DATABASE_URL must be a URL such as postgres://user:password@localhost:5432/database"
    })
  }
  return {
    port: Number(port),
    host: Option.getOrElse(yield* variable("HOST"), () => "127.0.0.1"),
    databaseUrl: databaseUrl === undefined ? undefined : Redacted.make(databaseUrl),
    dataDir: Option.getOrElse(yield* variable("EVSRC_DATA"), () => ".data")
  }
})
