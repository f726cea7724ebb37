/** The user management program on emmett with Express: registers, renames and returns users, with an inline projection, and logs each request. */
import { peer } from "../contestant.ts"
import type { Pg, Queries } from "../pg.ts"

interface Event {
  readonly type: "UserRegistered" | "UserRenamed"
  readonly data: { readonly userId: string; readonly name: string; readonly email?: string }
}

interface User {
  readonly name: string
  readonly email: string
}

type State = User | undefined

interface Store {
  readonly schema: { readonly migrate: () => Promise<unknown> }
}

interface EmmettPostgres {
  readonly getPostgreSQLEventStore: (
    url: string,
    options: {
      readonly connectionOptions: { readonly pool: Queries }
      readonly projections: ReadonlyArray<{ readonly type: "inline"; readonly projection: unknown }>
    }
  ) => Store
  readonly pongoSingleStreamProjection: (options: {
    readonly collectionName: string
    readonly canHandle: ReadonlyArray<string>
    readonly getDocumentId: (event: Event) => string
    readonly evolve: (user: User | null, event: Event) => User
  }) => unknown
}

interface Emmett {
  readonly CommandHandler: (options: {
    readonly initialState: () => State
    readonly evolve: (state: State, event: Event) => State
    readonly retry: { readonly onVersionConflict: true }
  }) => (
    store: Store,
    id: string,
    handle: (state: State) => ReadonlyArray<Event>
  ) => Promise<{ readonly nextExpectedStreamVersion: bigint }>
}

interface Request {
  readonly method: string
  readonly path: string
  readonly params: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, string>>
}

interface Response {
  readonly statusCode: number
  readonly status: (code: number) => Response
  readonly json: (body: unknown) => void
  readonly on: (event: "finish", done: () => void) => void
}

type Handler = (request: Request, response: Response, next: () => void) => unknown

interface Express {
  readonly default:
    & (() => {
      readonly use: (handler: unknown) => void
      readonly post: (path: string, handler: Handler) => void
      readonly patch: (path: string, handler: Handler) => void
      readonly get: (path: string, handler: Handler) => void
      readonly listen: (port: number, host: string, ready: () => void) => void
    })
    & { readonly json: () => unknown }
}

const { Pool } = await peer<Pg>("pg")
const { default: express } = await peer<Express>("express")
const { CommandHandler } = await peer<Emmett>("@event-driven-io/emmett")
const { getPostgreSQLEventStore, pongoSingleStreamProjection } = await peer<EmmettPostgres>(
  "@event-driven-io/emmett-postgresql"
)

const url = process.env["DATABASE_URL"] ?? ""
// As many as the example of evsrc has.
const pool = new Pool({ connectionString: url, max: 10 })

const evolve = (user: State | null, { data: { email = user?.email ?? "", name } }: Event): User => ({ name, email })

const store = getPostgreSQLEventStore(url, {
  connectionOptions: { pool },
  projections: [{
    type: "inline",
    projection: pongoSingleStreamProjection({
      collectionName: "users",
      canHandle: ["UserRegistered", "UserRenamed"],
      getDocumentId: ({ data }) => data.userId,
      evolve
    })
  }]
})
await store.schema.migrate()
const handle = CommandHandler({ initialState: () => undefined, evolve, retry: { onVersionConflict: true } })

class Refused extends Error {
  readonly status: number
  constructor(status: number) {
    super()
    this.status = status
  }
}

const app = express()
app.use(express.json())
app.use(
  ((request, response, next) => {
    const began = performance.now()
    response.on("finish", () => {
      const { method, path } = request
      console.log(JSON.stringify({ method, path, status: response.statusCode, ms: performance.now() - began }))
    })
    next()
  }) satisfies Handler
)
const answer = (run: (request: Request) => Promise<readonly [status: number, body: unknown]>): Handler =>
async (
  request,
  response
) => {
  try {
    const [status, body] = await run(request)
    response.status(status).json(body)
  } catch (error) {
    response.status(error instanceof Refused ? error.status : 500).json({ error: String(error) })
  }
}
app.post(
  "/users",
  answer(async ({ body: { email = "", name = "", userId = "" } }) => {
    const { nextExpectedStreamVersion } = await handle(store, `User-${userId}`, (state) => {
      if (state !== undefined) throw new Refused(409)
      return [{ type: "UserRegistered", data: { userId, name, email } }]
    })
    return [201, { userId, version: Number(nextExpectedStreamVersion) }]
  })
)
app.patch(
  "/users/:id",
  answer(async ({ body: { name = "" }, params: { id: userId = "" } }) => {
    const { nextExpectedStreamVersion } = await handle(store, `User-${userId}`, (state) => {
      if (state === undefined) throw new Refused(404)
      return state.name === name ? [] : [{ type: "UserRenamed", data: { userId, name } }]
    })
    return [200, { userId, version: Number(nextExpectedStreamVersion) }]
  })
)
app.get(
  "/users/:id",
  answer(async ({ params: { id = "" } }) => {
    const { rows: [row] } = await pool.query({
      name: "user",
      text: "select data from users where _id = $1",
      values: [id]
    })
    if (row === undefined) throw new Refused(404)
    return [200, row["data"]]
  })
)
// Pongo creates the collection with its first document.
await handle(store, `User-first-${process.pid}`, () => [
  { type: "UserRegistered", data: { userId: `first-${process.pid}`, name: "First", email: "" } }
])
app.listen(Number(process.env["PORT"]), "127.0.0.1", () => console.log("ready"))
