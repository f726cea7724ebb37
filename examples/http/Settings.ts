/**
 * Reads and validates the settings from environment variables.
 */
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Provoke from "./Provoke.ts"

export interface Settings {
  /** `PORT`: 3000 by default; 0 chooses a free port. */
  readonly port: number
  /** `HOST`: the address to listen on; 127.0.0.1 by default, which is reachable from this machine only. */
  readonly host: string
  /** `DATABASE_URL`: a PostgreSQL server. Without it an embedded PostgreSQL runs in this process. */
  readonly databaseUrl: Redacted.Redacted | undefined
  /** `EVSRC_DATA`: the data folder of the embedded PostgreSQL; `.data` by default. */
  readonly dataDir: string
  /** `PROVOKE`: a stall, for trials only; none by default. */
  readonly provoke: Provoke.StallName | undefined
}

export class InvalidSetting
  extends Schema.TaggedError<InvalidSetting>()("InvalidSetting", { message: Schema.String })
{}

/** An empty variable counts as unset, as in `DATABASE_URL= npm start`. */
const variable = (name: string) =>
  Config.String(name).pipe(Config.option, Config.map(Option.filter((text) => text !== "")))

const isStall = (name: string): name is Provoke.StallName => Object.hasOwn(Provoke.stalls, name)

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
  const provoke = Option.getOrUndefined(yield* variable("PROVOKE"))
  if (provoke !== undefined && !isStall(provoke)) {
    return yield* new InvalidSetting({
      message: `PROVOKE must be one of ${Object.keys(Provoke.stalls).join(", ")}, not ${JSON.stringify(provoke)}`
    })
  }
  if (provoke !== undefined && provoke !== "parked" && databaseUrl === undefined) {
    return yield* new InvalidSetting({ message: `PROVOKE=${provoke} needs a PostgreSQL server; set DATABASE_URL` })
  }
  return {
    port: Number(port),
    host: Option.getOrElse(yield* variable("HOST"), () => "127.0.0.1"),
    databaseUrl: databaseUrl === undefined ? undefined : Redacted.make(databaseUrl),
    dataDir: Option.getOrElse(yield* variable("EVSRC_DATA"), () => ".data"),
    provoke
  }
})
