/** Loads a server by `autocannon`, for some seconds, in a process of its own. Prints what it has measured as JSON. */
import { peer } from "../contestant.ts"

interface Request {
  readonly method?: string
  readonly path?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

interface Instance extends PromiseLike<unknown> {
  readonly on: (
    event: "response",
    heard: (client: unknown, status: number, bytes: number, milliseconds: number) => void
  ) => void
}

interface Autocannon {
  readonly default: (options: {
    readonly url: string
    readonly connections: number
    readonly duration: number
    readonly requests: ReadonlyArray<{ readonly setupRequest: (request: Request) => Request }>
  }, done: (error: unknown, result: unknown) => void) => Instance
}

const [url = "", load = "", secondsText = "", connections = "", prefix = ""] = process.argv.slice(2)
const { default: autocannon } = await peer<Autocannon>("autocannon")

let count = 0
const headers = { "content-type": "application/json" }
/** As often as by Zipf's law, roughly: the number of the user is the inverse of a uniform number. */
const someone = () => `bench-${Math.min(99, Math.floor(100 ** Math.random()) - 1)}`

const setupRequest = (request: Request): Request => {
  const number = ++count
  if (load === "register") {
    const body = JSON.stringify({ userId: `${prefix}-${number}`, email: "ann@example.com", name: "Ann" })
    return { ...request, method: "POST", path: "/users", body, headers }
  }
  const path = `/users/${someone()}`
  return Math.random() < 0.3
    ? { ...request, method: "PATCH", path, body: JSON.stringify({ name: `Ann ${prefix} ${number}` }), headers }
    : { ...request, method: "GET", path, headers: {} }
}

const times: Array<number> = []
let failures = 0
const began = performance.now()
await new Promise<void>((resolve, reject) => {
  const instance = autocannon(
    { url, connections: Number(connections), duration: Number(secondsText), requests: [{ setupRequest }] },
    (error) => error === null ? resolve() : reject(error)
  )
  instance.on("response", (_, status, __, milliseconds) => {
    if (status < 400) times.push(milliseconds)
    else failures++
  })
})
const seconds = (performance.now() - began) / 1000
times.sort((a, b) => a - b)
const at = (share: number) => times[Math.floor(times.length * share)] ?? 0
process.stdout.write(
  JSON.stringify({
    rate: times.length / seconds,
    p50: at(0.5),
    p95: at(0.95),
    p99: at(0.99),
    failures,
    count: times.length
  })
)
